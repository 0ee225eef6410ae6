"""The interface of frame readers: decode frames of a video by index."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dataset.listing import VideoRecord
from dataset.readers.errors import ReadError

if TYPE_CHECKING:
    import torch

# Receives the position of a frame among the requested ones, and the frame, uint8 [H, W, C]. The frame must be copied:
# its memory is reused. If a position comes twice, the later frame counts.
Put = Callable[[int, np.ndarray], object]


class FrameReader(ABC):
    """Base class of frame readers. Readers can be pickled; each process opens its own files."""

    @abstractmethod
    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """Decode frames and pass each to `put` as soon as it is decoded, in any order; all have one size.

        A reader that notices that it started decoding at a wrong place starts over, possibly with another frame size.

        Args:
            record: The video.
            numbers: Distinct frame indices from 0, increasing.
            put: Receives the frames.

        Raises:
            FewerFramesError: A frame is beyond the end of the video.
            ReadError: The video cannot be read.
        """

    def take_notes(self) -> tuple[str, ...]:
        """Return and clear the warnings about the videos decoded since the last call."""
        return ()

    def verify(self, record: VideoRecord, numbers: Sequence[int]) -> None:
        """Decode frames; a reader that seeks also compares them with those of a sequential pass from the start.

        Args:
            record: The video.
            numbers: Distinct frame indices from 0, increasing.

        Raises:
            FewerFramesError: A frame is beyond the end of the video.
            ReadError: The video cannot be read, or is damaged between the first and the last of the frames.
        """
        self.decode(record, numbers, lambda _place, _frame: None)

    def times(self, record: VideoRecord) -> NDArray[np.float64]:
        """Return the start of every frame and the end of the last, seconds from the first, float64 [num_frames + 1].

        Raises:
            FewerFramesError: The video has fewer frames than listed.
            ReadError: The video cannot be read, or its format stores no time stamps, as in this base class.
        """
        raise ReadError(f"{record.path}: its format stores no time stamps; set dataset.picture_rate to its frame rate")

    def read(self, record: VideoRecord, frame_indices: Sequence[int] | np.ndarray) -> "torch.Tensor":
        """Read frames in the given order; each distinct frame is decoded once.

        Args:
            record: The video.
            frame_indices: Frame indices from 0, in any order, repeated or not.

        Returns:
            uint8 [N, H, W, C] in the order of the indices; C is 3, or 2 (x, y) for flow.

        Raises:
            FewerFramesError: A frame is beyond the end of the video.
            ReadError: The video cannot be read.
        """
        import torch  # takes 2 s, which a process that only indexes video files need not wait

        wanted, places = np.unique(np.asarray(frame_indices, dtype=np.int64), return_inverse=True)
        if not len(wanted) or wanted[0] < 0:
            raise ValueError(f"frame_indices must be non-empty and non-negative, found {frame_indices}")
        stack = FrameStack(len(wanted))
        self.decode(record, wanted.tolist(), stack.put)
        in_order = len(places) == len(wanted) and bool(np.all(places[1:] > places[:-1]))
        return torch.from_numpy(stack.frames if in_order else stack.frames[places])


class FrameStack:
    """Collects frames of one size in an array, uint8 [N, ...]."""

    def __init__(self, count: int) -> None:
        """Create a stack of `count` frames; the first frame allocates it."""
        self._count = count
        self.frames = np.empty((count, 0), dtype=np.uint8)

    def put(self, place: int, frame: np.ndarray) -> None:
        """Copy a frame to its position; a frame of another size starts a new stack."""
        if self.frames.shape[1:] != frame.shape:
            self.frames = np.empty((self._count, *frame.shape), dtype=np.uint8)
        self.frames[place] = frame
