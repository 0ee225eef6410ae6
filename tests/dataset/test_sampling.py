"""Frame sampling against the formulas in exact fractions, one piece at a time."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from dataset import sampling
from utils.clip_shape import ClipShape


def stated_ranges(num_frames: int, num_segments: int, span: int) -> list[tuple[int, int]]:
    """Lowest and highest start of every piece by the documented rule (inclusive bounds)."""
    segment = num_frames // num_segments
    if segment >= span:
        return [(i * segment, i * segment + segment - span) for i in range(num_segments)]
    step = Fraction(num_frames - span, num_segments)
    return [(floor(i * step), floor(i * step) + floor(step)) for i in range(num_segments)]


def stated_test_offsets(num_frames: int, num_segments: int, span: int, clip: int, num_clips: int) -> list[int]:
    segment = num_frames // num_segments
    if segment >= span:
        return [i * segment + floor(Fraction((segment - span) * clip, num_clips)) for i in range(num_segments)]
    step = Fraction(num_frames - span, num_segments)
    return [floor(step * clip / num_clips) + floor(i * step) for i in range(num_segments)]


NUMBERS = ((1, 16, 1), (1, 32, 1), (1, 64, 2), (4, 4, 1), (8, 4, 1), (16, 4, 1), (3, 5, 2), (1, 1, 1), (7, 1, 3))
SHAPES = [ClipShape(*numbers) for numbers in NUMBERS]


@pytest.mark.parametrize("shape", SHAPES)
def test_train_offsets_cover_exactly_the_documented_range(shape: ClipShape) -> None:
    num_segments, span = shape.num_segments, shape.clip_length * shape.num_steps
    rng = np.random.default_rng(0)
    for num_frames in (span, span + 1, span + 7, num_segments * span - 1, num_segments * span, num_segments * span + 3):
        if num_frames < span:
            continue
        draws = np.stack([sampling.train_offsets(num_frames, shape, rng=rng) for _ in range(400)])
        assert draws.shape == (400, num_segments)
        assert draws.dtype == np.int64
        for piece, (low, high) in enumerate(stated_ranges(num_frames, num_segments, span)):
            assert draws[:, piece].min() >= low
            assert draws[:, piece].max() <= high
            if high - low <= 20:  # 400 draws miss one of 21 values with chance 7e-8
                assert set(draws[:, piece]) == set(range(low, high + 1))
        assert draws.max() + span <= num_frames


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_clips", [1, 3, 10])
def test_test_offsets_follow_the_rule(shape: ClipShape, num_clips: int) -> None:
    num_segments, span = shape.num_segments, shape.clip_length * shape.num_steps
    for num_frames in (*range(span, 3 * span + 5), num_segments * span + 11, 997):
        for clip in range(num_clips):
            offsets = sampling.test_offsets(num_frames, shape, clip=clip, num_clips=num_clips)
            assert offsets.tolist() == stated_test_offsets(num_frames, num_segments, span, clip, num_clips)
            assert offsets.dtype == np.int64


def test_segments_are_drawn_independently_and_from_the_generator_alone() -> None:
    shape = ClipShape(8, 4, 1)
    first = sampling.train_offsets(400, shape, rng=np.random.default_rng(5))
    again = sampling.train_offsets(400, shape, rng=np.random.default_rng(5))
    assert first.tolist() == again.tolist()
    assert len(set((first - np.arange(8) * 50).tolist())) > 1


@pytest.mark.parametrize(("num_frames", "looped"), [(1, 16), (3, 18), (5, 20), (8, 16), (15, 30), (16, 16)])
def test_a_short_video_is_looped_as_often_as_needed(num_frames: int, looped: int) -> None:
    shape = ClipShape(1, 8, 2)
    draws = {int(sampling.train_offsets(num_frames, shape, rng=np.random.default_rng(seed))[0]) for seed in range(300)}
    assert draws == set(range(looped - 16 + 1))
    assert sampling.test_offsets(num_frames, shape, clip=1, num_clips=2).tolist() == [(looped - 16) // 2]


def test_frames_of_a_clip_step_through_its_pieces() -> None:
    indices = sampling.frame_indices(np.array([3, 40]), ClipShape(2, 4, 3), num_frames=100)
    assert indices.tolist() == [3, 6, 9, 12, 40, 43, 46, 49]
    assert indices.dtype == np.int64


def test_frames_past_the_end_start_over() -> None:
    indices = sampling.frame_indices(np.array([2]), ClipShape(1, 8, 2), num_frames=5)
    assert indices.tolist() == [2, 4, 1, 3, 0, 2, 4, 1]
