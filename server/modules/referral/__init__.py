"""Referral: the servicer methods of its contract."""
