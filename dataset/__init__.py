"""Video data: list files, frame sampling, readers, transforms, datasets and loaders."""
