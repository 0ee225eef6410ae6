"""Tests of `utils.config`."""
