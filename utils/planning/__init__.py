"""Optimization planning: which path of states to train. The decision only: no torch, no files."""
