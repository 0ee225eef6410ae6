"""Read the frames of listed videos sequentially, each decoded once, for every format."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from dataset.listing import VideoRecord, split_segment
from dataset.readers import FewerFramesError, ReadError, open_reader
from dataset.readers.video_file import DEFAULT_RATE, VideoFile, decode_frames
from dataset.readers.video_index import build_index
from dataset.sampling import frames_at_rate, is_steady

_CHUNK = 32  # images read at a time
_MAX_TERM = 1 << 16  # largest denominator of a frame rate


@dataclass(frozen=True, slots=True)
class Footage:
    """A video to be encoded.

    Attributes:
        frames: Frames, uint8 [H, W, 3], all of the size of the first.
        rate: Frame rate, frames per second.
        count: Number of frames, unless the video ends early.
        short: How the video is shorter than listed; empty if it is not. Known when resampling only.
        times: Presentation time of each frame, in units of `time_base`; empty for a constant frame rate.
        time_base: Seconds per unit.
    """

    frames: Iterable[np.ndarray]
    rate: Fraction
    count: int
    short: str = ""
    times: Sequence[int] = ()
    time_base: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where and how videos are read.

    Attributes:
        format: A key of utils.parts.FORMATS.
        root: Root of relative list paths.
        rate: Frame rate of videos that do not give theirs (images never do), frames per second.
        fps: Frame rate to resample to, frames per second; 0 to take every frame.
    """

    format: str
    root: str
    rate: float = DEFAULT_RATE
    fps: float = 0.0

    def footage(self, record: VideoRecord, *, limit: int | None = None) -> Footage:
        """Return the frames of a listed video, as its reader gives them; fewer if the video ends early.

        Args:
            record: The video.
            limit: Largest number of frames.

        Raises:
            ReadError: The video cannot be read; also raised while iterating over the frames.
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
        """Return the frames nearest in time to the ticks of the new frame rate."""
        reader = open_reader(self.format, self.root, picture_rate=0.0 if self.format == "RAW" else self.rate)
        short = ""
        try:
            times = reader.times(record)
        except FewerFramesError as error:
            short = f"the list says {record.num_frames} frames, the file has {error.num_frames}"
            times = reader.times(replace(record, num_frames=error.num_frames))
        shows = np.bincount(frames_at_rate(times, self.fps))  # how often each frame is repeated
        pairs = zip(self._frames(record), shows.tolist(), strict=False)  # frames after the last tick are dropped
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
    """Require that a video has frames.

    Raises:
        ReadError: It has none.
    """
    if not count:
        raise ReadError(f"{record.path}: the video ends before the segment begins")
