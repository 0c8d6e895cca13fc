"""What runs all day: supervisor, workers, the compute process and control."""
