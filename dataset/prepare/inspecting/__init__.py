"""Inspect data: decoding checks, pages of a network's input clips, and the speed of a loader."""
