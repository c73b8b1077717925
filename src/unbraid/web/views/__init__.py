"""The views of the explorer, one a file, each written once on what methods can do."""
