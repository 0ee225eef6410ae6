"""From a line of a list file to a uint8 clip: lists, frame sampling, readers, transforms and the data sets over them."""
