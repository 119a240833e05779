"""Statistics. Pure functions on arrays."""
