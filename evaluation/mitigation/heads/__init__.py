"""A classifier's linear head, fitted anew: on images chosen by spuriosity, or with groups."""
