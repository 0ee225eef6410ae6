"""Tests of `dataset.readers`."""
