"""Training: loops, batches, schedules, precision, checkpoints and the run folder."""
