"""A run's folder and the trained model in it: codes, inputs, outputs, pictures."""
