"""Whether several models fail on the same images, by what was corrupted in them."""
