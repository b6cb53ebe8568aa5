"""Weights & Biases, a mirror of the results."""
