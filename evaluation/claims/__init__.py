"""What other methods claim to be spurious, held against what people found."""
