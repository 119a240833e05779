"""The whole way on the embedded scenes, and its figures against their truth."""
