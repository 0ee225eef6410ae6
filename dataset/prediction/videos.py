"""A video file as a prediction needs it: when its frames are shown, and where windows lie in it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset.prediction.request import PredictionError, Source, Stride
from dataset.readers.video_file import USUAL_RATE, VideoFile
from dataset.readers.video_index import build_index
from utils.text import printable


@dataclass(frozen=True)
class Video:
    """A video file.

    Attributes:
        path: Of the file.
        name: What its results are called.
        times: When each frame is shown, from the first one on, in units of the time base, int64 [num_frames].
        time_base: Seconds of one unit.
        rate: Frames a second on average.
        max_pixels: That a picture may have.
        damage: What of the file cannot be decoded, empty for a sound one.
    """

    path: Path
    name: str
    times: NDArray[np.int64]
    time_base: Fraction
    rate: Fraction
    max_pixels: int
    damage: str = ""

    @property
    def num_frames(self) -> int:
        """The number of frames."""
        return len(self.times)

    def at_rate(self, rate: float, *, num_ticks: int) -> "Video":
        """Return the video as if it had so many frames, at a steady rate."""
        exact = Fraction(rate).limit_denominator(1_000_000)
        return replace(self, times=np.arange(num_ticks), time_base=1 / exact, rate=exact)

    def seconds(self, frame: int) -> float:
        """Return when a frame begins; of the number of frames, when the last one ends."""
        if frame < self.num_frames:
            return float(int(self.times[frame]) * self.time_base)
        return float(int(self.times[-1]) * self.time_base + 1 / self.rate)


def open_video(source: Source, *, max_pixels: int) -> Video:
    """Count a video's frames; its pictures may have so many pixels.

    Raises:
        ReadError: It cannot be read.
        PredictionError: There is no such video, or its name is not UTF-8.
    """
    path = source.path
    if source.problem:
        raise PredictionError(source.problem)
    if str(path) != str(path).encode("utf-8", "replace").decode():
        raise PredictionError(f"{printable(str(path))}: its name is not UTF-8; rename it")
    with VideoFile(path, max_pixels=max_pixels) as file:
        index, rate = build_index(file), Fraction(file.frame_rate or USUAL_RATE)
        times, time_base = np.arange(index.num_frames), 1 / rate
        if index.pts is not None and file.time_base is not None:
            times, time_base = index.pts - index.pts[0], file.time_base
    return Video(path, source.name, times, time_base, rate, max_pixels, index.damage)


@dataclass(frozen=True)
class Place:
    """Where a window lies: its first frame, and the frames [begin, end) that it speaks for."""

    first: int
    begin: int
    end: int


def place_windows(video: Video, span: int, *, stride: Stride | None) -> Iterator[Place]:
    """Place windows over a video, one after the other; together they speak for all of it.

    Neighbors part half way between their middles. A last window ends with the video where more than a gap between
    windows would be left behind the one before. Where a second one has no room a whole stride further on, there is one.

    Args:
        video: The video.
        span: Frames of a window.
        stride: From one window to the next; None: as long as a window.
    """
    stride, num_frames = stride or Stride(frames=span), video.num_frames
    step = stride.frames or max(1, round(stride.seconds * video.rate))
    firsts = np.arange(0, num_frames, step) if stride.frames else _at_seconds(video, stride.seconds)
    firsts = firsts[firsts + span <= num_frames]
    if num_frames < span + step or not len(firsts):
        yield Place(0, 0, num_frames)
        return
    ends = (firsts + np.append(firsts[1:], firsts[-1] + step) + span) // 2
    if num_frames - span - firsts[-1] > max(0, step - span):
        firsts, ends = np.append(firsts, num_frames - span), np.append(np.minimum(ends, num_frames - 1), num_frames)
    ends[-1], begin = num_frames, 0
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        yield Place(first, begin, end)
        begin = end


def _at_seconds(video: Video, seconds: float) -> NDArray[np.int64]:
    """Return the first frame of every so many seconds, increasing int64 [*]."""
    units = np.arange(0, int(video.times[-1]) + 1, seconds / float(video.time_base))
    return np.unique(np.searchsorted(video.times, units - 1e-3))  # a thousandth of a unit: quotients are rounded
