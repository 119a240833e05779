"""Masked corruptions of images."""
