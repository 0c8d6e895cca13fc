"""Mathematics of the learning methods."""
