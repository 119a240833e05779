"""Published results of models on shifted test sets, beside our figures of the same models."""
