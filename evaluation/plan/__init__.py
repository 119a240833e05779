"""What an evaluation runs: conditions, regions, protocols."""
