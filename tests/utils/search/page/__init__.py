"""Tests of `utils.search.page`."""
