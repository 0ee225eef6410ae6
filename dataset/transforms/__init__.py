"""What is done to clips: operations, recipes that draw them, mirrored labels, mixing, normalization."""
