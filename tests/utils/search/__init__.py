"""Tests of `utils.search`."""
