"""Classifiers that rely less on what is spurious."""
