"""Methods judged on public data with published figures; one file a name."""
