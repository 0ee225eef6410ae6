"""Large tensors from a loader's workers to their parent through shared memory that is written again and again.

torch gives every tensor that a worker sends new shared memory. Each of its pages has to be found and cleared by the
system and mapped by both processes, which costs several times the copy itself. Here a worker writes to a piece of
shared memory that its parent has let go of, and only makes a new one when there is none: `empty` gives such memory to
what makes large tensors, and `place` puts what is not there yet into it.
"""

import math
import weakref
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

_HEADER = 64  # bytes; the first says whether the parent still uses the piece. The rest keeps what follows aligned.
_LARGE = 1 << 20  # bytes; smaller tensors go torch's way


class Placed:
    """A tensor on its way to the parent: which piece of the worker's memory it is in, and its shape."""

    def __init__(self, piece: torch.Tensor, number: tuple[int, int], shape: torch.Size) -> None:
        """Note the piece, its number (worker, piece) and the tensor's shape."""
        self.piece, self.number, self.shape = piece, number, shape

    def open(self) -> torch.Tensor:
        """Return the tensor in the piece, which goes back to the worker when no part of it is used any more."""
        return torch.from_numpy(_lend(self.piece, self.shape)[0])

    def pin_memory(self) -> torch.Tensor:
        """Make a copy that a GPU can fetch by itself; torch's pinning thread asks for it of what is no tensor."""
        return self.open().pin_memory()


class Sender:
    """A worker's pieces of shared memory."""

    def __init__(self) -> None:
        """Begin without pieces."""
        self._pieces: list[torch.Tensor] = []
        # What is being written: address -> (number of its piece, what frees it when it is never sent).
        self._lent: dict[int, tuple[int, weakref.finalize]] = {}

    def lend(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return uint8 memory in a piece that nobody uses; it is free again when the array is gone without a `send`."""
        size = _HEADER + math.prod(shape)
        free = [number for number, piece in enumerate(self._pieces) if not piece[0]]
        number = next((number for number in free if len(self._pieces[number]) >= size), None)
        if number is None:
            piece = torch.empty(size, dtype=torch.uint8).share_memory_()
            number = free[0] if free else len(self._pieces)
            self._pieces[number : number + 1] = [piece]
        piece = self._pieces[number]
        piece[0] = 1
        pixels, freeing = _lend(piece, shape)
        self._lent[pixels.ctypes.data] = number, freeing
        return pixels

    def send(self, tensor: torch.Tensor, worker: int) -> Placed:
        """Hand a tensor over to the parent; it is copied if it does not lie in lent memory."""
        number, freeing = self._lent.pop(tensor.data_ptr(), (0, None))
        if freeing is None or not freeing.alive or not tensor.is_contiguous():
            pixels = self.lend(tuple(tensor.shape))
            torch.from_numpy(pixels).copy_(tensor)
            number, freeing = self._lent.pop(pixels.ctypes.data)
        freeing.detach()
        return Placed(self._pieces[number], (worker, number), tensor.shape)


# Of this process, if it is a worker.
_sender = Sender()


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """Return uint8 memory of a shape: in a worker, if it is large, shared memory that `place` need not copy."""
    if get_worker_info() is None or math.prod(shape) < _LARGE:
        return np.empty(shape, dtype=np.uint8)
    return _sender.lend(shape)


def place(item: Any) -> Any:
    """Return a named tuple with its large uint8 tensors placed; anything else, and in the parent all, as it is."""
    worker = get_worker_info()
    if worker is None or not hasattr(item, "_replace"):
        return item
    large = {name: value for name, value in item._asdict().items() if _is_large(value)}
    return item._replace(**{name: _sender.send(value, worker.id) for name, value in large.items()})


class Receiver:
    """The parent's end: it keeps the pieces mapped, as long as workers use them."""

    def __init__(self) -> None:
        """Begin without pieces."""
        self._pieces: dict[tuple[int, int], torch.Tensor] = {}

    def take(self, item: Any) -> Any:
        """Return an item as it was before it was placed."""
        if not hasattr(item, "_replace"):
            return item
        placed = {name: value for name, value in item._asdict().items() if isinstance(value, Placed)}
        return item._replace(**{name: self._open(value) for name, value in placed.items()})

    def _open(self, placed: Placed) -> torch.Tensor:
        self._pieces[placed.number] = placed.piece
        return placed.open()


def _is_large(value: Any) -> bool:
    if not isinstance(value, torch.Tensor) or value.dtype != torch.uint8 or value.is_shared():
        return False
    return value.numel() >= _LARGE


def _lend(piece: torch.Tensor, shape: tuple[int, ...]) -> tuple[np.ndarray, weakref.finalize]:
    """Return an array in a piece, and what frees the piece when the array and every view of it are gone."""
    memory = piece.numpy()
    # Views of an array refer to the one that its own memory is of, which must not be the whole piece.
    pixels = np.frombuffer(memory.data[_HEADER : _HEADER + math.prod(shape)], dtype=np.uint8)
    freeing = weakref.finalize(pixels, _release, memory)
    freeing.atexit = False
    return pixels.reshape(shape), freeing


def _release(memory: np.ndarray) -> None:
    memory[0] = 0
