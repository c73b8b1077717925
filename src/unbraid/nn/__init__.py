"""Networks and functions that the methods share."""
