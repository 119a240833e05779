"""From images and a robust checkpoint to a store. Needs torch."""
