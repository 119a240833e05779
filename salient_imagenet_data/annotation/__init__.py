"""People's answers about (class, feature) pairs: sheets to look at, files, verdicts, and applying them to a store."""
