"""From a line of a list file to a uint8 clip: lists, sampling, readers, transforms and data sets."""
