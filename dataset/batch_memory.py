"""Reusable shared memory for the batches that loader workers send to their parent.

torch allocates new shared memory for every batch, and allocating, zeroing and freeing its pages costs several times as
much as the copy. Here a worker reuses the buffer of a batch that the parent has released; a batch that the parent still
holds is never overwritten.
"""

import math
import weakref
from collections.abc import Sequence

import numpy as np
import torch

_HEADER = 64  # bytes; the first is 1 while the parent uses the buffer, the rest keeps the data aligned


class BatchMemory:
    """The shared buffers of a worker: one for each batch that the parent holds or that is in transit."""

    def __init__(self) -> None:
        """Create a pool without buffers."""
        self._buffers: list[torch.Tensor] = []

    def stack(self, clips: Sequence[torch.Tensor]) -> "SharedBatch":
        """Stack uint8 clips of one shape in a free buffer."""
        shape = (len(clips), *clips[0].shape)
        size = _HEADER + math.prod(shape)
        buffer = next((buffer for buffer in self._buffers if not buffer[0] and len(buffer) >= size), None)
        if buffer is None:
            buffer = torch.empty(size, dtype=torch.uint8).share_memory_()
            self._buffers = [*(other for other in self._buffers if other[0]), buffer]  # free ones are too small: drop
        buffer[0] = 1
        torch.stack(list(clips), out=buffer[_HEADER:size].view(shape))
        return SharedBatch(buffer, shape)


class SharedBatch:
    """A batch in a shared buffer; the parent unpickles it as a tensor."""

    def __init__(self, buffer: torch.Tensor, shape: tuple[int, ...]) -> None:
        """Wrap a buffer that holds a batch of this shape behind its header."""
        self._arguments = buffer, shape

    def __reduce__(self) -> tuple:
        """Unpickle as a tensor."""
        return _open_batch, self._arguments


def _open_batch(buffer: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the batch in a buffer, which is released to the worker once no view of the batch is left."""
    memory = buffer.numpy()
    # numpy views keep the owner of their memory alive; that must be `pixels`, not the whole buffer.
    pixels = np.frombuffer(memory.data[_HEADER : _HEADER + math.prod(shape)], dtype=np.uint8)
    weakref.finalize(pixels, _release, memory).atexit = False
    return torch.from_numpy(pixels.reshape(shape))


def _release(memory: np.ndarray) -> None:
    memory[0] = 0
