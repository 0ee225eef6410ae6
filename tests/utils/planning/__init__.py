"""Tests of `utils.planning`."""
