"""Configuration, training, checkpoints, scores and reports, independent of networks and data sets."""
