"""Networks that know classes by their words: prompts, towers of images and of words, questions and answers."""
