"""What the readers of all formats have in common: frames of videos by number."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dataset.listing import VideoRecord
from dataset.readers.errors import ReadError

if TYPE_CHECKING:
    import torch

# Takes a frame uint8 [H, W, C] and its place among the frames asked for. The frame is only lent: its memory is used
# again. A place may come twice, then the later frame counts.
Put = Callable[[int, np.ndarray], object]


class FrameReader(ABC):
    """Gives frames of videos by number. Readers can be pickled; each process opens for itself what it reads."""

    @abstractmethod
    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """Decode frames and hand over each as it comes, in any order; all are of one size.

        A reader that finds out on the way that it has begun in the wrong place starts again, with frames of another
        size perhaps.

        Args:
            record: The video.
            numbers: Distinct frame numbers from 0, increasing.
            put: Takes the frames.

        Raises:
            FewerFramesError: A frame beyond the video's real end.
            ReadError: The video cannot be read.
        """

    def take_notes(self) -> tuple[str, ...]:
        """Return what a user should hear about the videos decoded since the last call."""
        return ()

    def verify(self, record: VideoRecord, numbers: Sequence[int]) -> None:
        """Decode frames and, where a reader can jump, compare them with a pass from the start, whose damage counts.

        Args:
            record: The video.
            numbers: Distinct frame numbers from 0, increasing.

        Raises:
            FewerFramesError: A frame beyond the video's real end.
            ReadError: The video cannot be read, or is damaged between the first and the last of the frames.
        """
        self.decode(record, numbers, lambda _place, _frame: None)

    def times(self, record: VideoRecord) -> NDArray[np.float64]:
        """Return when the frames of a video begin and the last one ends, seconds from the first [num_frames + 1].

        Raises:
            FewerFramesError: The video has fewer frames than the record says.
            ReadError: The video cannot be read, or its format keeps no times, as here.
        """
        raise ReadError(
            f"{record.path}: its format keeps no times; say the rate of its pictures (dataset.picture_rate)"
        )

    def read(self, record: VideoRecord, frame_indices: Sequence[int] | np.ndarray) -> "torch.Tensor":
        """Decode the asked frames, each once.

        Args:
            record: The video.
            frame_indices: Frame numbers from 0 in any order, repeated or not.

        Returns:
            uint8 [N, H, W, C] in the order asked; C is 3, or 2 (x, y) for flow.

        Raises:
            FewerFramesError: A frame beyond the video's real end.
            ReadError: The video cannot be read.
        """
        import torch  # 2 s that whoever only indexes video files does without

        wanted, places = np.unique(np.asarray(frame_indices, dtype=np.int64), return_inverse=True)
        if not len(wanted) or wanted[0] < 0:
            raise ValueError(f"frame numbers must be 0 or more, and some: {frame_indices}")
        stack = FrameStack(len(wanted))
        self.decode(record, wanted.tolist(), stack.put)
        in_order = len(places) == len(wanted) and bool(np.all(places[1:] > places[:-1]))
        return torch.from_numpy(stack.frames if in_order else stack.frames[places])


class FrameStack:
    """Frames of one size put side by side, uint8 [N, ...]."""

    def __init__(self, count: int) -> None:
        """Make the stack of `count` frames; nothing is allocated before the first one."""
        self._count = count
        self.frames = np.empty((count, 0), dtype=np.uint8)

    def put(self, place: int, frame: np.ndarray) -> None:
        """Copy a frame to its place; one of another size begins a new stack."""
        if self.frames.shape[1:] != frame.shape:
            self.frames = np.empty((self._count, *frame.shape), dtype=np.uint8)
        self.frames[place] = frame
