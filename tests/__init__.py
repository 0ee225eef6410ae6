"""Tests, in folders as the code's."""
