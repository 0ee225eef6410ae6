"""The frames of a list's videos one after the other, each decoded once, whatever the format."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dataset.listing import VideoRecord, split_segment
from dataset.readers import FewerFramesError, ReadError, open_reader
from dataset.readers.video_file import VideoFile, decode_frames

_CHUNK = 32  # frames of pictures that are read at a time
DEFAULT_RATE = 25


@dataclass(frozen=True, slots=True)
class Source:
    """Where videos come from.

    Attributes:
        format: One of utils.parts.FORMATS.
        root: folder that paths start from.
        rate: frames a second where a video does not say; pictures never do.
    """

    format: str
    root: str
    rate: int = DEFAULT_RATE

    def frame_rate(self, record: VideoRecord) -> Fraction:
        """Frames a second of a video."""
        if self.format == "RAW":
            with VideoFile(Path(self.root, split_segment(record.path)[0])) as video:
                return Fraction(video.frame_rate or self.rate)
        return Fraction(self.rate)

    def frames(self, record: VideoRecord, *, limit: int | None = None) -> Iterator[np.ndarray]:
        """Give the frames of a list's line, uint8 [H, W, 3] each, as the reader of the format would.

        Fewer come if the video ends early. All have the size of the first.

        Args:
            record: the line.
            limit: most frames to give.

        Raises:
            ReadError: the video cannot be read.
        """
        count = record.num_frames if limit is None else min(limit, record.num_frames)
        frames = self._decode(record) if self.format == "RAW" else self._read(record)
        return itertools.islice(frames, count)

    def _decode(self, record: VideoRecord) -> Iterator[np.ndarray]:
        path, skipped = split_segment(record.path)
        return itertools.islice(decode_frames(Path(self.root, path)), skipped, None)

    def _read(self, record: VideoRecord) -> Iterator[np.ndarray]:
        reader = open_reader(self.format, self.root)
        total = record.num_frames
        try:
            start = 0
            while start < total:
                stop = min(start + _CHUNK, total)
                try:
                    yield from reader.read(record, range(start, stop)).numpy()
                    start = stop
                except FewerFramesError as error:
                    total = error.num_frames
        finally:
            reader.close()


def require_frames(count: int, record: VideoRecord) -> None:
    """Refuse a video that gave no frame.

    Raises:
        ReadError: it gave none.
    """
    if not count:
        raise ReadError(f"{record.path}: the video ends before the segment begins")
