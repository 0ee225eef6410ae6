"""Tests of `utils.training`."""
