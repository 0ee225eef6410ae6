"""Trained networks as folders that need nothing else: `python -m model.export`."""
