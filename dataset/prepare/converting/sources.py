"""The frames of a list's videos one after the other, each decoded once, whatever the format."""

import itertools
from collections.abc import Iterable, Iterator
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
class Footage:
    """A video to be encoded.

    Attributes:
        frames: uint8 [H, W, 3] each, all of the size of the first.
        rate: Frames a second.
    """

    frames: Iterable[np.ndarray]
    rate: Fraction


@dataclass(frozen=True, slots=True)
class Source:
    """Where videos come from.

    Attributes:
        format: One of utils.parts.FORMATS.
        root: Folder that paths start from.
        rate: Frames a second where a video does not say; pictures never do.
    """

    format: str
    root: str
    rate: int = DEFAULT_RATE

    def footage(self, record: VideoRecord, *, limit: int | None = None) -> Footage:
        """Give the frames of a list's line as the reader of the format would; fewer come if the video ends early.

        Args:
            record: The line.
            limit: Most frames to give.

        Raises:
            ReadError: The video cannot be read, now or when its frames are asked for.
        """
        count = record.num_frames if limit is None else min(limit, record.num_frames)
        if self.format != "RAW":
            return Footage(itertools.islice(self._read(record), count), Fraction(self.rate))
        path, skipped = split_segment(record.path)
        with VideoFile(Path(self.root, path)) as video:
            rate = Fraction(video.frame_rate or self.rate)
        return Footage(itertools.islice(decode_frames(Path(self.root, path), first=skipped), count), rate)

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
        ReadError: It gave none.
    """
    if not count:
        raise ReadError(f"{record.path}: the video ends before the segment begins")
