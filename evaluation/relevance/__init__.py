"""Where in the image the features of a class have their relevance, and what sorts of maps a class has."""
