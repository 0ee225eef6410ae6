"""The random draws: frequencies and ranges, shared by all frames of a clip."""

import math
import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataset.transforms import operations
from dataset.transforms.recipes import (
    TRANSFORM_TYPES,
    RandomErasing,
    build_train_transform,
    crop_position,
    draw_crop,
    evaluation_transform,
    resize_short_side,
)
from utils.config.network_names import Normalization
from utils.torchvision_import import import_torchvision


def make_clip(frames: int, height: int, width: int, channels: int = 3, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    scene = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))[..., :channels].astype(int)
    noise = rng.integers(-20, 20, (frames, height, width, channels))
    return np.clip(scene + noise, 0, 255).astype(np.uint8)


class TorchDraws:
    """Stands in for a numpy generator, but draws like torchvision's get_params, with torch's global generator."""

    def uniform(self, low: float, high: float) -> float:
        return torch.empty(1).uniform_(low, high).item()

    def integers(self, low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,)).item())


@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.08, 1.0), (0.5, 1.0)])
@pytest.mark.parametrize("size", [(256, 340), (340, 256), (41, 7), (9, 200), (1, 1)])
def test_crops_are_torchvisions(size: tuple[int, int], scale: tuple[float, float]) -> None:
    import_torchvision()
    from torchvision.transforms import RandomResizedCrop

    image = torch.empty(3, *size)
    for seed in range(60):
        torch.manual_seed(seed)
        expected = RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3])
        torch.manual_seed(seed)
        rng: Any = TorchDraws()
        assert draw_crop(*size, scale=scale, rng=rng) == tuple(expected)


@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.08, 1.0)])
def test_crops_cover_the_ranges_and_stay_inside(scale: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    height, width = 256, 340
    boxes = np.array([draw_crop(height, width, scale=scale, rng=rng) for _ in range(4000)])
    top, left, box_height, box_width = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()
    area, ratio = box_height * box_width / (height * width), box_width / box_height
    assert area.min() == pytest.approx(scale[0], abs=0.02)
    assert area.max() > 0.97
    assert (ratio.min(), ratio.max()) == (pytest.approx(3 / 4, abs=0.02), pytest.approx(4 / 3, abs=0.02))
    assert top.min() == left.min() == 0
    # As many crops touch the far edges as the near ones.
    assert (top == 0).mean() == pytest.approx((top + box_height == height).mean(), abs=0.02)
    assert (left == 0).mean() == pytest.approx((left + box_width == width).mean(), abs=0.02)


def record_calls(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[tuple]:
    """Replaces operations by ones that only record (name, value) and return the clip."""
    calls: list[tuple] = []
    for name in names:

        def note(clip: np.ndarray, *values: Any, name: str = name, **_place: int) -> np.ndarray:
            calls.append((name, *values))
            return clip

        monkeypatch.setattr(operations, name, note)
    return calls


def all_transforms(crop_size: int = 24) -> dict[str, Any]:
    transforms = {
        name: build_train_transform(name, crop_size=crop_size, ra_n=3, ra_m=27, horizontal_flip=True)
        for name in TRANSFORM_TYPES
    }
    transforms["flow"] = build_train_transform("default", crop_size=crop_size, horizontal_flip=True, use_flow=True)
    return transforms


@pytest.mark.parametrize("name", [*TRANSFORM_TYPES, "flow"])
class TestEveryTransform:
    def test_frames_of_a_clip_share_one_draw(self, name: str) -> None:
        transform = all_transforms()[name]
        if name == "mvit_default":  # the noise of random erasing differs between frames
            transform = replace(transform, steps=transform.steps[:-1])
        still = np.repeat(make_clip(1, 33, 47, transform.channels), 4, axis=0)
        for seed in range(60):
            result = transform(still, np.random.default_rng(seed))
            assert (result == result[:1]).all(), seed

    def test_result_is_a_contiguous_clip_and_the_argument_is_unchanged(self, name: str) -> None:
        transform = all_transforms()[name]
        view = make_clip(6, 71, 93, transform.channels)[::2, ::-1, ::2]
        view.flags.writeable = False
        for clip in (view, view[:1], view[:, :24, :24], make_clip(2, 5, 3, transform.channels)):
            before = clip.copy()
            for seed in range(15):
                result = transform(clip, np.random.default_rng(seed))
                assert (result.shape, result.dtype) == ((len(clip), 24, 24, transform.channels), np.uint8)
                assert result.flags.c_contiguous
                assert not np.shares_memory(result, clip)
            np.testing.assert_array_equal(clip, before)

    def test_same_state_gives_the_same_clip_and_another_state_another(self, name: str) -> None:
        transform = all_transforms()[name]
        copy = pickle.loads(pickle.dumps(transform))
        clip = make_clip(2, 40, 50, transform.channels)
        results = [transform(clip, np.random.default_rng((5, seed))) for seed in range(12)]
        for seed, result in enumerate(results):
            np.testing.assert_array_equal(result, copy(clip, np.random.default_rng((5, seed))))
        assert len({result.tobytes() for result in results}) == len(results)

    def test_no_flip_when_left_and_right_matter(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        flips = record_calls(monkeypatch, "flip_horizontal", "flip_flow")
        use_flow = name == "flow"
        clip = make_clip(1, 12, 12, 2 if use_flow else 3)
        for wanted in (False, True):
            transform = build_train_transform(
                "default" if use_flow else name, crop_size=8, horizontal_flip=wanted, use_flow=use_flow
            )
            for seed in range(400):
                transform(clip, np.random.default_rng(seed))
            assert len(flips) == 0 if not wanted else 150 < len(flips) < 250


def test_crop_is_the_only_change_of_rand_augment_without_operations() -> None:
    clip = make_clip(3, 60, 80)
    transform = build_train_transform("rand_augment", crop_size=32, ra_n=0, horizontal_flip=False)
    for seed in range(10):
        top, left, height, width = draw_crop(60, 80, scale=(0.2, 1.0), rng=np.random.default_rng(seed))
        crop = clip[:, top : top + height, left : left + width]
        images = [Image.fromarray(frame).resize((32, 32), Image.Resampling.BILINEAR) for frame in crop]
        result = transform(clip, np.random.default_rng(seed))
        assert np.abs(result.astype(int) - np.stack([np.asarray(image) for image in images])).max() <= 1


def test_default_draws_with_its_probabilities_and_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    jitter = ("brightness", "contrast", "saturation", "hue")
    calls = record_calls(monkeypatch, *jitter, "grayscale", "gaussian_blur", "flip_horizontal")
    transform = build_train_transform("default", crop_size=4, horizontal_flip=True)
    clip, rng, draws = make_clip(1, 6, 6), np.random.default_rng(0), 3000
    orders: Counter = Counter()
    sequences = []
    for _ in range(draws):
        start = len(calls)
        transform(clip, rng)
        names = [call[0] for call in calls[start:]]
        sequences.append([name for name in names if name not in jitter])
        orders[tuple(name for name in names if name in jitter)] += 1
        assert names[: len(names) - len(sequences[-1])] == [name for name in names if name in jitter]
    counts = Counter(call[0] for call in calls)
    for name, probability in [(name, 0.8) for name in jitter] + [
        ("grayscale", 0.2),
        ("gaussian_blur", 0.5),
        ("flip_horizontal", 0.5),
    ]:
        assert counts[name] / draws == pytest.approx(probability, abs=0.04), name
    ranges = dict.fromkeys(jitter[:3], (0.6, 1.4)) | {"hue": (-0.1, 0.1), "gaussian_blur": (0.1, 2.0)}
    for name, (low, high) in ranges.items():
        values = np.array([call[1] for call in calls if call[0] == name])
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.04 * (high - low))
    del orders[()]
    assert len(orders) == math.factorial(4)
    assert max(orders.values()) < 2 * min(orders.values())
    assert all(
        names == sorted(names, key=["grayscale", "gaussian_blur", "flip_horizontal"].index) for names in sequences
    )


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.45, 0.5, 0.6), (0.1, 0.15, 0.2))],
    ids=["ImageNet", "others"],
)
def test_erasing_replaces_one_box_by_normal_noise_of_every_frame(mean: tuple, std: tuple) -> None:
    clip = np.full((3, 100, 120, 3), 7, np.uint8)
    rng = np.random.default_rng(0)
    areas, ratios, noise, products = [], [], [], []
    for _ in range(200):
        result = RandomErasing(Normalization(mean, std))(clip, rng)
        boxes = []
        for frame in result:
            changed = (frame != 7).any(axis=-1)
            rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
            boxes.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
        assert set(boxes) == {boxes[0]}
        top, bottom, left, right = boxes[0]
        box = result[:, top:bottom, left:right]
        areas.append(box.shape[1] * box.shape[2] / (100 * 120))
        ratios.append(box.shape[1] / box.shape[2])
        noise.append(box.reshape(-1, 3))
        first, second = (box[:2].reshape(2, -1, 3) / 255 - mean) / std
        products.append((first * second).mean())
    assert np.abs(np.mean(products)) < 0.01  # 1 where two frames have the same noise
    assert (min(areas), max(areas)) == (pytest.approx(0.02, abs=0.005), pytest.approx(1 / 3, abs=0.01))
    assert min(ratios) < 0.4
    assert max(ratios) > 2.5
    normal = (np.concatenate(noise) / 255 - mean) / std
    # Clipping at black and white reduces the standard deviation by a few percent.
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(normal.std(axis=0), 1, atol=0.04)


def test_mvit_erases_a_quarter_of_the_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    erased = record_calls(monkeypatch, "paste")
    transform = build_train_transform("mvit_default", crop_size=8, horizontal_flip=True)
    for seed in range(1000):
        transform(make_clip(1, 9, 9), np.random.default_rng(seed))
    assert len(erased) / 1000 == pytest.approx(0.25, abs=0.04)


def test_flow_is_cropped_to_at_least_half_of_the_area_and_its_flip_negates_x() -> None:
    transform = build_train_transform("mvit_default", crop_size=8, horizontal_flip=True, use_flow=True)
    clip = np.full((2, 30, 40, 2), (200, 90), np.uint8)
    results = [transform(clip, np.random.default_rng(seed)) for seed in range(300)]
    assert {int(value) for result in results for value in np.unique(result[..., 1])} == {90}
    assert {int(value) for result in results for value in np.unique(result[..., 0])} == {200, 55}
    # A crop of at least half of the area always contains the center of the frame.
    clip[:, 14:16, 19:21, 1] = 255
    assert all(transform(clip, np.random.default_rng(seed))[..., 1].max() > 90 for seed in range(300))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transform_type": "randaugment"}, "unknown transform_type 'randaugment'; there are .*default, rand_augment"),
        ({"crop_size": 0}, "crop_size 0 is not positive"),
        ({"ra_m": 31}, "ra_m 31 is outside of 0..30"),
        ({"ra_m": -1}, "ra_m -1 is outside of 0..30"),
        ({"ra_n": -1}, "ra_n -1 is negative"),
    ],
)
def test_bad_settings_are_errors(changes: dict, message: str) -> None:
    settings: dict[str, Any] = {"transform_type": "rand_augment", "crop_size": 8, "horizontal_flip": True} | changes
    with pytest.raises(ValueError, match=message):
        build_train_transform(settings.pop("transform_type"), **settings)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((2, 9, 9, 3)), r"this is float64 \[2, 9, 9, 3\]"),
        (np.zeros((9, 9, 3), np.uint8), r"this is uint8 \[9, 9, 3\]"),
        (np.zeros((0, 9, 9, 3), np.uint8), r"this is uint8 \[0, 9, 9, 3\]"),
        (np.zeros((2, 9, 9, 2), np.uint8), "for clips of 3 channels, not 2"),
    ],
)
def test_what_is_not_a_clip_is_an_error(clip: np.ndarray, message: str) -> None:
    transform = build_train_transform("default", crop_size=8, horizontal_flip=True)
    with pytest.raises(ValueError, match=message):
        transform(clip, np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(256, 340), (340, 256), (61, 47), (47, 47), (7, 300)])
@pytest.mark.parametrize("size", [32, 47, 64])
def test_short_side_is_resized_as_by_pillow(shape: tuple[int, int], size: int) -> None:
    clip = make_clip(2, *shape)
    height, width = shape
    expected_size = (size, int(size * width / height)) if height < width else (int(size * height / width), size)
    result = resize_short_side(clip, size)
    assert result.shape == (2, *expected_size, 3)
    assert result.flags.c_contiguous
    images = [Image.fromarray(frame).resize(expected_size[::-1], Image.Resampling.BILINEAR) for frame in clip]
    assert np.abs(result.astype(int) - np.stack([np.asarray(image) for image in images])).max() <= 1


def test_resize_to_the_same_size_changes_nothing() -> None:
    clip = make_clip(2, 32, 50)
    np.testing.assert_array_equal(resize_short_side(clip, 32), clip)


def test_crop_positions() -> None:
    assert crop_position(256, 340, 256, crop_idx=0) == (0, 42)
    assert crop_position(256, 340, 256, crop_idx=1) == (0, 0)
    assert crop_position(256, 340, 256, crop_idx=2) == (0, 84)
    assert crop_position(301, 224, 200, crop_idx=0) == (50, 12)
    assert crop_position(301, 224, 200, crop_idx=2) == (101, 24)
    with pytest.raises(ValueError, match="a crop of 225 pixels does not fit into a frame of 224 x 301"):
        crop_position(301, 224, 225, crop_idx=0)
    with pytest.raises(ValueError, match=r"crop_idx 3 is outside of 0\.\.2"):
        crop_position(301, 224, 200, crop_idx=3)


@pytest.mark.parametrize("channels", [2, 3])
def test_evaluation_takes_the_center(channels: int) -> None:
    clip = make_clip(3, 60, 90, channels)
    result = evaluation_transform(clip, size=30)
    assert result.shape == (3, 30, 30, channels)
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, resize_short_side(clip, 30)[:, :, 8:38])  # (45 - 30) / 2 = 7.5, to even
