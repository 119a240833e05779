"""Images of a class by how much they show its spurious features."""
