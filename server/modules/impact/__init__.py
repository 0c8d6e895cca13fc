"""Impact: the servicer methods of its contract."""
