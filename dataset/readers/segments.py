"""Segments of long videos (list paths that end in `#skip=N`), for every format."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dataset.listing import VideoRecord, split_segment
from dataset.readers.errors import FewerFramesError, ReadError
from dataset.readers.frame_reader import FrameReader, Put


class SegmentReader(FrameReader):
    """Reads segments through a reader of whole videos: frame i of a segment is frame N + i of its video."""

    def __init__(self, reader: FrameReader, picture_rate: float = 0.0) -> None:
        """Wrap a reader; `picture_rate` replaces its time stamps by a constant rate, frames per second, unless 0."""
        self._reader = reader
        self._picture_rate = picture_rate

    def take_notes(self) -> tuple[str, ...]:
        """See FrameReader."""
        return self._reader.take_notes()

    def decode(self, record: VideoRecord, numbers: Sequence[int], put: Put) -> None:
        """See FrameReader; the count of a FewerFramesError is that of the segment."""
        whole, skipped = _whole(record)
        with _as_segment(record, skipped):
            self._reader.decode(whole, [skipped + number for number in numbers], put)

    def times(self, record: VideoRecord) -> NDArray[np.float64]:
        """See FrameReader."""
        if self._picture_rate:
            return np.arange(record.num_frames + 1) / self._picture_rate
        whole, skipped = _whole(record)
        with _as_segment(record, skipped):
            times = self._reader.times(whole)[skipped:]
        return times - times[0]

    def verify(self, record: VideoRecord, numbers: Sequence[int]) -> None:
        """See FrameReader; the count of a FewerFramesError is that of the segment."""
        whole, skipped = _whole(record)
        with _as_segment(record, skipped):
            self._reader.verify(whole, [skipped + number for number in numbers])


def _whole(record: VideoRecord) -> tuple[VideoRecord, int]:
    """Return the whole video of a segment, and the number of frames before the segment."""
    path, skipped = split_segment(record.path)
    return replace(record, path=path, num_frames=skipped + record.num_frames), skipped


@contextmanager
def _as_segment(record: VideoRecord, skipped: int) -> Iterator[None]:
    """Convert the frame count of a FewerFramesError from the whole video to its segment."""
    try:
        yield
    except FewerFramesError as error:
        remaining = error.num_frames - skipped
        if not skipped:
            raise
        if remaining <= 0:
            message = f"{record.path}: the video has {error.num_frames} frames, so nothing is left of the segment"
            raise ReadError(message) from None
        raise FewerFramesError(str(error), remaining) from None
