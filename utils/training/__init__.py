"""Training: the loops, what they follow (batches, schedule, precision), and what they leave (checkpoints, a folder)."""
