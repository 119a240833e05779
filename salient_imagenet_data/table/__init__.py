"""A store as columns of a `datasets` table."""
