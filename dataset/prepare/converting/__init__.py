"""Convert the videos of a list to another format."""
