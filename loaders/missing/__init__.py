"""Pixels that a network is not shown."""
