"""Tests of `dataset.synthetic`."""
