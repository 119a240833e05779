"""Augmentations for training that know the core mask: other backgrounds, noise outside the core, planted cues."""
