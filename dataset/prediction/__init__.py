"""Prediction for video files: find the files, place windows, score them, write the results."""
