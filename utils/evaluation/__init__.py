"""Evaluation: scores of views of videos, where they are kept, what they are of, and the result made of them."""
