"""Openers of networks, one file a library."""
