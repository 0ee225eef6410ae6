"""Tests of `utils.launch`."""
