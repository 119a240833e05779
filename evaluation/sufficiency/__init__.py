"""Which few pixels suffice a classifier for its answer, and where they lie."""
