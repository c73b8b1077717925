"""A run in one self-contained HTML page: pictures, figures in words, curves, what to try, commands to go on."""
