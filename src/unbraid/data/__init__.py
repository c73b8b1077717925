"""Data: from what a user names to batches of the kind a method needs."""
