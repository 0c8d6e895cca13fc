"""Learning: the servicer methods of its contract."""
