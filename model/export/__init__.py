"""Export trained networks as self-contained folders: `python -m model.export`."""
