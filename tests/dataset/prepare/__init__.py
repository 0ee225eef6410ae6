"""Tests of `dataset.prepare`."""
