"""Kaizen: the servicer methods of its contract."""
