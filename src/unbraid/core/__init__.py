"""Foundations that all other packages import: batches and specs, the method interface, configuration, files,
devices."""
