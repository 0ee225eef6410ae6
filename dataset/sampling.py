"""Frame sampling: the 0-based frame indices of a clip, by integer arithmetic alone.

A clip is `num_segments` pieces of `clip_length` frames, every `num_steps`-th frame, so a piece spans
L = clip_length * num_steps frames (`utils.clip_shape.ClipShape`). With N frames in the video:

- N // num_segments >= L: the video is divided into segments of N // num_segments frames, one piece in each;
- otherwise, N >= L: the pieces overlap and start (N - L) / num_segments frames apart;
- N < L: the video loops, as if it had the smallest multiple of N frames that is at least L.

All floors are taken on integers, so no offset depends on floating-point rounding.

With a fixed rate (`ClipShape.frame_rate`), N counts ticks instead of frames: the video has `frame_rate` ticks per
second, and each tick stands for the frame nearest in time (`frames_at_rate`).
"""

import numpy as np
from numpy.typing import NDArray

from utils.clip_shape import ClipShape

_ROUNDING = 1e-3  # largest rounding error of time stamps, seconds: Matroska stores milliseconds


def frames_at_rate(times: NDArray[np.float64], rate: float) -> NDArray[np.int64]:
    """Return the frame nearest in time to each tick of a video, int64 [ticks]; the earlier one of two equally near.

    Args:
        times: Start of every frame and end of the last one, seconds from the first frame, increasing [num_frames + 1].
        rate: Ticks per second; the number of ticks is duration x rate, rounded, at least 1.
    """
    begins, gaps = times[:-1], np.diff(times[:-1])
    ticks = np.arange(max(1, round(times[-1] * rate))) / rate
    return np.searchsorted(begins[:-1] + gaps / 2 + np.minimum(_ROUNDING, gaps / 10), ticks).astype(np.int64)


def is_steady(begins: NDArray[np.float64]) -> bool:
    """Return whether the frame rate is constant, given the start of every frame, seconds [num_frames]."""
    if len(begins) < 3:
        return True
    return bool(np.abs(begins - np.linspace(begins[0], begins[-1], len(begins))).max() <= 1.5 * _ROUNDING)


def draw_clip(num_frames: int, shape: ClipShape, *, rng: np.random.Generator) -> np.ndarray:
    """Return the frame indices of a random clip, int64 [T]."""
    return frame_indices(train_offsets(num_frames, shape, rng=rng), shape, num_frames=num_frames)


def spread_clips(num_frames: int, shape: ClipShape, *, num_clips: int) -> np.ndarray:
    """Return the frame indices of evenly spaced clips, int64 [num_clips, T]."""
    offsets = [test_offsets(num_frames, shape, clip=clip, num_clips=num_clips) for clip in range(num_clips)]
    return np.stack([frame_indices(starts, shape, num_frames=num_frames) for starts in offsets])


def train_offsets(num_frames: int, shape: ClipShape, *, rng: np.random.Generator) -> np.ndarray:
    """Draw the first frame of every piece uniformly within the piece's segment.

    Returns:
        int64 [num_segments]; every piece ends inside the (looped) video.
    """
    starts, slack = _starts_and_slack(num_frames, shape)
    return starts + rng.integers(0, slack // shape.num_segments, size=shape.num_segments, endpoint=True)


def test_offsets(num_frames: int, shape: ClipShape, *, clip: int, num_clips: int) -> np.ndarray:
    """Return the first frame of every piece of clip `clip` (from 0) of `num_clips` evenly spaced clips.

    Returns:
        int64 [num_segments].
    """
    starts, slack = _starts_and_slack(num_frames, shape)
    return starts + slack * clip // (shape.num_segments * num_clips)


def frame_indices(offsets: np.ndarray, shape: ClipShape, *, num_frames: int) -> np.ndarray:
    """Return the frame indices of a clip in playing order, modulo the length of the video.

    Args:
        offsets: First frame of every piece, int64 [num_segments].
        shape: Shape of the clip.
        num_frames: Length of the video, frames.

    Returns:
        int64 [num_segments * clip_length], in 0..num_frames-1.
    """
    return (offsets[:, None] + np.arange(shape.clip_length) * shape.num_steps).reshape(-1) % num_frames


def _starts_and_slack(num_frames: int, shape: ClipShape) -> tuple[np.ndarray, int]:
    """Return the start of each segment, int64 [num_segments], and num_segments times the largest offset of a piece."""
    num_segments, span = shape.num_segments, shape.span
    looped = -(-span // num_frames) * num_frames if num_frames < span else num_frames
    segment = looped // num_segments
    pieces = np.arange(num_segments, dtype=np.int64)
    if segment >= span:
        return pieces * segment, (segment - span) * num_segments
    return pieces * (looped - span) // num_segments, looped - span
