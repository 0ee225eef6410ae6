"""Configuration, training loop, checkpoints, scores, reports: nothing here knows a network or a data set."""
