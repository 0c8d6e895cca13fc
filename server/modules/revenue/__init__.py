"""Revenue: the servicer methods of its contract."""
