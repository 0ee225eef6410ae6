"""Tests of `dataset.transforms`."""
