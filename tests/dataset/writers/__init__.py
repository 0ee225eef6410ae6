"""Tests of `dataset.writers`."""
