"""Features as of a time: Ibis expressions over the mart, one file a feature message."""
