"""Which labels of a store may be wrong: confident learning on probabilities that are out of sample."""
