"""Models of the learning module."""
