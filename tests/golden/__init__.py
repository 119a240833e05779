"""A store, an export of it and a predictions file, as the first version wrote them. Every later version must read them."""
