"""Where data come from: folders, arrays, tables, known sets, and what is drawn on the fly."""
