"""Which features a class has."""
