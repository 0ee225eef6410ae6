"""Tests of the scripts, end to end."""
