"""Worlds that policies are run in: each richer than the policy's own model, its numbers drawn anew for every seed."""
