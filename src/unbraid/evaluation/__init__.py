"""Measures a trained model on data that it didn't see."""
