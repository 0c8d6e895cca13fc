"""Measurements of the house: each prints its table beside its anchors and writes one JSON."""
