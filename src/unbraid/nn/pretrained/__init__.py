"""Networks that were trained by others, frozen."""
