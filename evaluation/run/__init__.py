"""Running a classifier under conditions, and the file of its answers."""
