"""Tests of `utils.evaluation`."""
