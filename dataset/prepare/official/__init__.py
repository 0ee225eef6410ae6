"""The official annotations, a file a data set."""
