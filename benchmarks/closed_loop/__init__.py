"""Policies of the product in closed loop with simulated worlds whose truth is known; one file a policy."""
