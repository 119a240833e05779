"""Names for features by a network of images and words, apart from those that people gave."""
