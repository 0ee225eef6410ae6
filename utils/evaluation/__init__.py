"""Evaluation: scoring the views of videos, storing the scores, and merging them into a result."""
