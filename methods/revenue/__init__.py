"""Mathematics of the revenue methods."""
