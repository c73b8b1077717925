"""What every other part may import: batches and specs, the protocol of methods, settings, files, devices."""
