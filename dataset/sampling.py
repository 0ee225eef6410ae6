"""Which frames a clip takes: pure index arithmetic on 0-based frame numbers.

A clip is `num_segments` pieces of `clip_length` frames, every `num_steps`-th frame, so a piece spans
L = clip_length * num_steps frames. With N frames in the video:

- N // num_segments >= L: each segment of N // num_segments frames holds its own piece;
- otherwise, N >= L: pieces overlap, they start (N - L) / num_segments frames apart;
- N < L: the video is played in a loop, as if it had the least multiple of N frames that is at least L.

All floors are taken on integers, so no offset depends on how a quotient rounds.
"""

import numpy as np


def train_offsets(
    num_frames: int, *, num_segments: int, clip_length: int, num_steps: int, rng: np.random.Generator
) -> np.ndarray:
    """First frame of every piece, drawn at random within the piece's segment.

    Returns:
        int64 [num_segments]; a piece that starts there ends inside the (looped) video.
    """
    starts, slack = _starts_and_slack(num_frames, num_segments=num_segments, span=clip_length * num_steps)
    return starts + rng.integers(0, slack // num_segments, size=num_segments, endpoint=True)


def test_offsets(
    num_frames: int, *, num_segments: int, clip_length: int, num_steps: int, clip: int, num_clips: int
) -> np.ndarray:
    """First frame of every piece of clip number `clip` of `num_clips` evenly spread ones.

    Returns:
        int64 [num_segments].
    """
    starts, slack = _starts_and_slack(num_frames, num_segments=num_segments, span=clip_length * num_steps)
    return starts + slack * clip // (num_segments * num_clips)


def frame_indices(offsets: np.ndarray, *, clip_length: int, num_steps: int, num_frames: int) -> np.ndarray:
    """Every frame of a clip in playing order; past the end of a short video it starts over.

    Args:
        offsets: first frame of every piece, int64 [num_segments].

    Returns:
        int64 [num_segments * clip_length], in 0..num_frames-1.
    """
    return (offsets[:, None] + np.arange(clip_length) * num_steps).reshape(-1) % num_frames


def _starts_and_slack(num_frames: int, *, num_segments: int, span: int) -> tuple[np.ndarray, int]:
    """Where each segment starts, int64 [num_segments], and num_segments times how far into it a piece may start."""
    looped = -(-span // num_frames) * num_frames if num_frames < span else num_frames
    segment = looped // num_segments
    pieces = np.arange(num_segments, dtype=np.int64)
    if segment >= span:
        return pieces * segment, (segment - span) * num_segments
    return pieces * (looped - span) // num_segments, looped - span
