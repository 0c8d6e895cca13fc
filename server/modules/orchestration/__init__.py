"""Orchestration: the state of the whole, beside the five modules."""
