"""Batches from a loader's workers to their parent through shared memory that is written again.

torch gives every batch new shared memory, each page of which the system finds, clears and takes back: several times
the cost of the copy. Here a worker writes a batch where the parent has let go of one; what it keeps stays as it is.
"""

import math
import weakref
from collections.abc import Sequence

import numpy as np
import torch

_HEADER = 64  # bytes; the first says whether the parent uses the piece, the rest keeps what follows aligned


class BatchMemory:
    """A worker's pieces of shared memory: as many as the parent has batches at a time, and those on their way."""

    def __init__(self) -> None:
        """Begin without pieces."""
        self._pieces: list[torch.Tensor] = []

    def stack(self, clips: Sequence[torch.Tensor]) -> "Placed":
        """Put clips, uint8 and of one shape, together in a piece that nobody uses."""
        shape = (len(clips), *clips[0].shape)
        size = _HEADER + math.prod(shape)
        piece = next((piece for piece in self._pieces if not piece[0] and len(piece) >= size), None)
        if piece is None:
            piece = torch.empty(size, dtype=torch.uint8).share_memory_()
            self._pieces = [*(other for other in self._pieces if other[0]), piece]  # those that were too small go
        piece[0] = 1
        torch.stack(list(clips), out=piece[_HEADER:size].view(shape))
        return Placed(piece, shape)


class Placed:
    """A batch on its way: what the parent unpickles is the tensor itself."""

    def __init__(self, piece: torch.Tensor, shape: tuple[int, ...]) -> None:
        """Note the piece that it lies in, and its shape."""
        self._arguments = piece, shape

    def __reduce__(self) -> tuple:
        """Arrive as a tensor."""
        return _arrive, self._arguments


def _arrive(piece: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the batch in a piece, which goes back to the worker when no part of it is used any more."""
    memory = piece.numpy()
    # Views of an array refer to the one that its own memory is of, which must not be the whole piece.
    pixels = np.frombuffer(memory.data[_HEADER : _HEADER + math.prod(shape)], dtype=np.uint8)
    weakref.finalize(pixels, _release, memory).atexit = False
    return torch.from_numpy(pixels.reshape(shape))


def _release(memory: np.ndarray) -> None:
    memory[0] = 0
