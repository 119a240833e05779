"""Where a classifier looks."""
