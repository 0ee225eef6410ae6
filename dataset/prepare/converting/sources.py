"""The frames of a list's videos one after the other, each decoded once, whatever the format."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from dataset.listing import VideoRecord, split_segment
from dataset.readers import FewerFramesError, ReadError, open_reader
from dataset.readers.video_file import USUAL_RATE, VideoFile, decode_frames
from dataset.readers.video_index import build_index
from dataset.sampling import frames_at_rate, is_steady

_CHUNK = 32  # frames of pictures that are read at a time
_MAX_TERM = 1 << 16  # of a rate as a fraction


@dataclass(frozen=True, slots=True)
class Footage:
    """A video to be encoded.

    Attributes:
        frames: uint8 [H, W, 3] each, all of the size of the first.
        rate: Frames a second.
        count: How many frames there are, unless the video ends early.
        short: What of its list's line is not there, empty for nothing; known with a new rate only.
        times: When each frame is shown, in units of `time_base`; none where they follow each other at the rate.
        time_base: Seconds of a unit.
    """

    frames: Iterable[np.ndarray]
    rate: Fraction
    count: int
    short: str = ""
    times: Sequence[int] = ()
    time_base: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where videos come from.

    Attributes:
        format: One of utils.parts.FORMATS.
        root: Folder that paths start from.
        rate: Frames a second where a video does not say; pictures never do.
        fps: Frames a second that are taken of it, by their times; 0: every frame.
    """

    format: str
    root: str
    rate: float = USUAL_RATE
    fps: float = 0.0

    def footage(self, record: VideoRecord, *, limit: int | None = None) -> Footage:
        """Give the frames of a list's line as the reader of the format would; fewer come if the video ends early.

        Args:
            record: The line.
            limit: Most frames to give.

        Raises:
            ReadError: The video cannot be read, now or when its frames are asked for.
        """
        if self.fps:
            return self._at_rate(record, limit=limit)
        count = record.num_frames
        frames = itertools.islice(self._frames(record), min(limit or count, count))
        if self.format != "RAW":
            return Footage(frames, Fraction(self.rate), count)
        path, skipped = split_segment(record.path)
        with VideoFile(Path(self.root, path)) as video:
            rate, index = Fraction(video.frame_rate or self.rate), build_index(video)
        if index.pts is None or index.time_base is None or is_steady(index.times()[skipped:-1]):
            return Footage(frames, rate, count)
        times = index.pts[skipped : skipped + count]
        return Footage(frames, rate, count, times=(times - times[0]).tolist(), time_base=index.time_base)

    def _at_rate(self, record: VideoRecord, *, limit: int | None) -> Footage:
        """Give the frames that are nearest to the ticks of the new rate."""
        reader = open_reader(self.format, self.root, picture_rate=0.0 if self.format == "RAW" else self.rate)
        short = ""
        try:
            times = reader.times(record)
        except FewerFramesError as error:
            short = f"the list says {record.num_frames} frames, the file has {error.num_frames}"
            times = reader.times(replace(record, num_frames=error.num_frames))
        shows = np.bincount(frames_at_rate(times, self.fps))  # how often each frame is given
        pairs = zip(self._frames(record), shows.tolist(), strict=False)  # no frame behind the last tick
        frames = itertools.chain.from_iterable(itertools.repeat(frame, often) for frame, often in pairs)
        rate, count = Fraction(self.fps).limit_denominator(_MAX_TERM), int(shows.sum())
        return Footage(itertools.islice(frames, limit), rate, count, short)

    def _frames(self, record: VideoRecord) -> Iterator[np.ndarray]:
        if self.format != "RAW":
            return self._read(record)
        path, skipped = split_segment(record.path)
        return decode_frames(Path(self.root, path), first=skipped)

    def _read(self, record: VideoRecord) -> Iterator[np.ndarray]:
        reader = open_reader(self.format, self.root)
        start, total = 0, record.num_frames
        while start < total:
            stop = min(start + _CHUNK, total)
            try:
                yield from reader.read(record, range(start, stop)).numpy()
                start = stop
            except FewerFramesError as error:
                total = error.num_frames


def require_frames(count: int, record: VideoRecord) -> None:
    """Refuse a video that gave no frame.

    Raises:
        ReadError: It gave none.
    """
    if not count:
        raise ReadError(f"{record.path}: the video ends before the segment begins")
