"""A shared-memory board on which loader workers publish the video they read, so that the parent can name it."""

import numpy as np
import torch

_PATH_SIZE = 1024  # bytes

_row: np.ndarray | None = None  # the row of this process, if it is a worker


class WorkerBoard:
    """Shared memory with one row, the path of a video, for each worker of a loader."""

    def __init__(self, num_workers: int) -> None:
        """Create an empty board."""
        self._rows = torch.zeros((num_workers, _PATH_SIZE), dtype=torch.uint8).share_memory_()

    def take_row(self, worker: int) -> None:
        """Assign the row of worker number `worker` to this process."""
        global _row
        _row = self._rows[worker].numpy()

    def video_of(self, worker: int) -> str:
        """Return the path of the video that a worker last started to read; empty for none."""
        return self._rows[worker].numpy().tobytes().partition(b"\0")[0].decode(errors="replace")


def publish_video(path: str) -> None:
    """Publish the video that this worker is about to read; do nothing outside a worker."""
    if _row is not None:
        data = np.frombuffer(path.encode()[: _PATH_SIZE - 1] + b"\0", dtype=np.uint8)
        _row[: len(data)] = data
