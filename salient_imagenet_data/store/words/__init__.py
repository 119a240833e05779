"""Words: names of features, made of what people wrote."""
