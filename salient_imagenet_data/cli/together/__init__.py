"""The commands that put several classifiers beside each other."""
