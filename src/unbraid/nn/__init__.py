"""Networks and functions that several methods use."""
