"""Which video each of a loader's workers reads, where the parent sees it: whatever ends a worker, it can be named."""

import numpy as np
import torch

_PATH_SIZE = 1024  # bytes

_row: np.ndarray | None = None  # this process's, where it is a worker


class Board:
    """Shared memory with a row for each worker of a loader."""

    def __init__(self, num_workers: int) -> None:
        """Make an empty board."""
        self._rows = torch.zeros((num_workers, _PATH_SIZE), dtype=torch.uint8).share_memory_()

    def take_row(self, worker: int) -> None:
        """Make a row that of this process, a worker by its number."""
        global _row
        _row = self._rows[worker].numpy()

    def video_of(self, worker: int) -> str:
        """Return the path of the video that a worker read last, empty for none."""
        return self._rows[worker].numpy().tobytes().partition(b"\0")[0].decode(errors="replace")


def say_video(path: str) -> None:
    """Write down, in a worker, which video it is going to read."""
    if _row is not None:
        data = np.frombuffer(path.encode()[: _PATH_SIZE - 1] + b"\0", dtype=np.uint8)
        _row[: len(data)] = data
