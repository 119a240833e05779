"""Masks against people's boxes of the object."""
