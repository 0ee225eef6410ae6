"""Frame times of a video file, and the placement of windows over it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset.prediction.request import PredictionError, Source, Stride
from dataset.readers.video_file import DEFAULT_RATE, VideoFile
from dataset.readers.video_index import build_index
from utils.text import printable


@dataclass(frozen=True)
class Video:
    """A video file.

    Attributes:
        path: Path of the file.
        name: Name of its results.
        times: Presentation time of each frame relative to the first, in units of the time base, int64 [num_frames].
        time_base: Seconds per unit.
        rate: Average frame rate, frames per second.
        max_pixels: Largest number of pixels of a frame.
        damage: What cannot be decoded; empty for an undamaged file.
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
        """Number of frames."""
        return len(self.times)

    def at_rate(self, rate: float, *, num_ticks: int) -> "Video":
        """Return the video with `num_ticks` ticks at a constant rate, per second, in place of its frames."""
        exact = Fraction(rate).limit_denominator(1_000_000)
        return replace(self, times=np.arange(num_ticks), time_base=1 / exact, rate=exact)

    def seconds(self, frame: int) -> float:
        """Return the start of a frame, seconds; for `num_frames`, the end of the last frame."""
        if frame < self.num_frames:
            return float(int(self.times[frame]) * self.time_base)
        return float(int(self.times[-1]) * self.time_base + 1 / self.rate)


def open_video(source: Source, *, max_pixels: int) -> Video:
    """Index a video file whose frames have at most `max_pixels` pixels.

    Raises:
        ReadError: The file cannot be read.
        PredictionError: The source has a problem, or its name is not UTF-8.
    """
    path = source.path
    if source.problem:
        raise PredictionError(source.problem)
    if str(path) != str(path).encode("utf-8", "replace").decode():
        raise PredictionError(f"{printable(str(path))}: its name is not UTF-8; rename it")
    with VideoFile(path, max_pixels=max_pixels) as file:
        index, rate = build_index(file), Fraction(file.frame_rate or DEFAULT_RATE)
        times, time_base = np.arange(index.num_frames), 1 / rate
        if index.pts is not None and file.time_base is not None:
            times, time_base = index.pts - index.pts[0], file.time_base
    return Video(path, source.name, times, time_base, rate, max_pixels, index.damage)


@dataclass(frozen=True)
class Place:
    """A window: its first frame, and the frames [begin, end) that its scores are assigned to."""

    first: int
    begin: int
    end: int


def place_windows(video: Video, span: int, *, stride: Stride | None) -> Iterator[Place]:
    """Place windows over a video so that every frame is assigned to exactly one window.

    The boundary between neighbors is half way between their centers. A last window that ends with the video is added if
    more frames than a gap between windows would remain after the one before. A video without room for a second window a
    whole stride later has one window.

    Args:
        video: The video.
        span: Length of a window, frames.
        stride: Distance between the starts of windows; None for `span`.
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
    """Return the first frame at or after each multiple of `seconds`, increasing int64 [*]."""
    units = np.arange(0, int(video.times[-1]) + 1, seconds / float(video.time_base))
    return np.unique(np.searchsorted(video.times, units - 1e-3))  # 1e-3 units of tolerance for rounded quotients
