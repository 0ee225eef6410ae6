"""Every operation on a clip against Pillow on its frames, one at a time."""

import colorsys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from dataset.transforms import operations


def make_noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def make_scene(frames: int, height: int, width: int) -> np.ndarray:
    """Smooth frames, different in each channel."""
    rng = np.random.default_rng(7)
    small = rng.integers(0, 256, (frames, 5, 6, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)) for frame in small]
    )


CLIPS = {
    "noise of odd sizes": make_noise(3, 37, 53, 3),
    "scene": make_scene(2, 60, 91),
    "one frame": make_scene(1, 48, 41),
    "low contrast": make_noise(2, 40, 40, 3) // 8 + 100,
    "constant": np.full((2, 9, 11, 3), 77, np.uint8),
    "tiny": make_noise(1, 5, 6, 3),
    "a column": make_noise(2, 5, 1, 3),
    "mirrored view": make_scene(4, 50, 60)[::2, ::-1, ::-2],
    "part of a frame": make_noise(2, 50, 60, 3)[:, 3:40, 5:44],
}


def by_frame(operation: Callable[..., Image.Image], clip: np.ndarray, *values: float) -> np.ndarray:
    images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in clip]
    return np.stack([np.asarray(operation(image, *values)) for image in images])


def pillow_hue(image: Image.Image, turns: float) -> Image.Image:
    """The usual hue shift with Pillow, on its 8-bit HSV of 255 steps per turn."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(int) + int(turns * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")


def pillow_solarize_add(image: Image.Image, amount: int) -> Image.Image:
    return image.point([min(value + amount, 255) if value < 128 else value for value in range(256)] * 3)


def pillow_affine(matrix: Callable[[float, int, int], tuple], resample: int, fill: int) -> Callable:
    def operation(image: Image.Image, value: float) -> Image.Image:
        data = matrix(value, *image.size)
        return image.transform(image.size, Image.Transform.AFFINE, data, resample, fillcolor=(fill,) * 3)

    return operation


MATRICES: dict[str, Callable[[float, int, int], tuple]] = {
    "shear_x": lambda value, width, height: (1, value, 0, 0, 1, 0),
    "shear_y": lambda value, width, height: (1, 0, 0, value, 1, 0),
    "translate_x": lambda value, width, height: (1, 0, value * width, 0, 1, 0),
    "translate_y": lambda value, width, height: (1, 0, 0, 0, 1, value * height),
}


class Case(NamedTuple):
    """An operation and Pillow's, test values, the allowed differences (of 255), and their cause."""

    ours: Callable
    pillow: Callable
    values: tuple = (None,)
    largest: int = 0
    mean: float = 0.0
    reason: str = "equal"
    border: int = 0  # width of a margin where the difference may be larger,
    largest_in_border: int = 0  # up to this


FACTORS = (0.1, 0.4, 0.63, 1.0, 1.27, 1.4, 1.9)
ANGLES = (-30, -27, -9.3, 0, 3, 12.5, 30)
SHARES = (-0.4464, -0.3, -0.1, -0.013, 0, 0.07, 0.3, 0.45)
BICUBIC_REASON = "OpenCV's cubic has a = -0.75, 1/32 pixel steps and rounds; Pillow's has a = -1 and truncates"

CASES = {
    "flip_horizontal": Case(
        lambda clip, _: operations.flip_horizontal(clip),
        lambda image, _: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ),
    "brightness": Case(
        operations.brightness, lambda image, value: ImageEnhance.Brightness(image).enhance(value), FACTORS
    ),
    "contrast": Case(operations.contrast, lambda image, value: ImageEnhance.Contrast(image).enhance(value), FACTORS),
    "saturation": Case(
        operations.saturation,
        lambda image, value: ImageEnhance.Color(image).enhance(value),
        FACTORS,
        largest=1,
        mean=0.01,
        reason="grays have 15 instead of 16 bits of fraction; blends that end on an integer",
    ),
    "sharpness": Case(
        operations.sharpness,
        lambda image, value: ImageEnhance.Sharpness(image).enhance(value),
        FACTORS,
        largest=1,
        mean=0.01,
        reason="blends that end on an integer",
    ),
    "hue": Case(
        operations.hue,
        pillow_hue,
        (-0.1, -0.05, -0.004, 0, 0.03, 0.1, 0.5),
        largest=22,
        mean=2.5,
        reason="8-bit HSV of 256 instead of 255 steps a turn; see test_hue_is_closer_to_the_exact_shift_than_pillow",
    ),
    "grayscale": Case(
        lambda clip, _: operations.grayscale(clip),
        lambda image, _: image.convert("L").convert("RGB"),
        largest=1,
        mean=0.01,
        reason="15 instead of 16 bits of fraction",
    ),
    "gaussian_blur": Case(
        operations.gaussian_blur,
        lambda image, value: image.filter(ImageFilter.GaussianBlur(value)),
        (0.1, 0.3, 0.5, 0.77, 1.0, 1.41, 2.0),
        largest=3,
        mean=1.1,
        reason="Pillow rounds and repeats the edge in each of six passes, here there are two",
        border=7,
        largest_in_border=30,
    ),
    "autocontrast": Case(lambda clip, _: operations.autocontrast(clip), lambda image, _: ImageOps.autocontrast(image)),
    "equalize": Case(lambda clip, _: operations.equalize(clip), lambda image, _: ImageOps.equalize(image)),
    "invert": Case(lambda clip, _: operations.invert(clip), lambda image, _: ImageOps.invert(image)),
    "posterize": Case(operations.posterize, ImageOps.posterize, (1, 2, 3, 4, 8)),
    "solarize": Case(operations.solarize, ImageOps.solarize, (0, 25.6, 128, 179.2, 256)),
    "solarize_add": Case(operations.solarize_add, pillow_solarize_add, (0, 33, 99, 110)),
    "rotate": Case(
        lambda clip, value: operations.rotate(clip, value, fill=0), lambda image, value: image.rotate(value), ANGLES
    ),
    "rotate, bicubic": Case(
        lambda clip, value: operations.rotate(clip, value, fill=128, warp=operations.warp_bicubic),
        lambda image, value: image.rotate(value, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)),
        ANGLES,
        largest=35,
        mean=4.2,
        reason=BICUBIC_REASON,
    ),
}
for name, matrix in MATRICES.items():
    CASES[name] = Case(
        partial(getattr(operations, name), fill=0),
        pillow_affine(matrix, Image.Resampling.NEAREST, 0),
        SHARES,
    )
    CASES[f"{name}, bicubic"] = Case(
        partial(getattr(operations, name), fill=128, warp=operations.warp_bicubic),
        pillow_affine(matrix, Image.Resampling.BICUBIC, 128),
        SHARES,
        largest=20,
        mean=4.2,
        reason=BICUBIC_REASON,
    )


@pytest.mark.parametrize("name", CASES)
def test_operation_equals_pillow(name: str) -> None:
    case = CASES[name]
    for description, clip in CLIPS.items():
        for value in case.values:
            result = case.ours(clip, value).astype(int)
            expected = by_frame(case.pillow, clip, value)
            rows, columns = (slice(case.border, size - case.border) for size in clip.shape[1:3])
            difference = np.abs(result - expected)
            where = f"{name} {value} on {description}"
            assert difference.max() <= max(case.largest, case.largest_in_border), where
            difference = difference[:, rows, columns]
            assert difference.max(initial=0) <= case.largest, where
            if difference.size > 2000:
                assert difference.mean() <= case.mean, where


@pytest.mark.parametrize("name", CASES)
def test_operation_makes_a_new_contiguous_clip_and_treats_frames_alike(name: str) -> None:
    case = CASES[name]
    still = np.repeat(make_scene(1, 33, 47), 3, axis=0)
    view = make_scene(2, 66, 94)[:, ::2, ::-2]
    view.flags.writeable = False
    for clip in (still, view):
        for value in case.values:
            before = clip.copy()
            result = case.ours(clip, value)
            np.testing.assert_array_equal(clip, before)
            assert (result.dtype, result.shape) == (np.uint8, clip.shape)
            assert result.flags.c_contiguous
            assert not np.shares_memory(result, clip)
            if clip is still:
                assert (result == result[:1]).all(), f"{name} {value}"


@pytest.mark.parametrize("turns", [-0.1, 0.03, 0.1, 0.5])
def test_hue_is_closer_to_the_exact_shift_than_pillow(turns: float) -> None:
    clip = make_noise(2, 20, 30, 3)
    turned = []
    for pixel in clip.reshape(-1, 3) / 255:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        turned.append(colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value))
    exact = np.array(turned).reshape(clip.shape) * 255
    ours = np.abs(operations.hue(clip, turns) - exact)
    pillows = np.abs(by_frame(pillow_hue, clip, turns) - exact)
    assert ours.mean() < pillows.mean()
    assert ours.max() < 10


@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.5, 1.0, 1.5, 2.0])
def test_blur_kernel_has_the_variance_of_the_gaussian(sigma: float) -> None:
    kernel = operations.blur_kernel(sigma).astype(np.float64)
    positions = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel * positions).sum() == pytest.approx(0, abs=1e-6)
    assert (kernel * positions**2).sum() == pytest.approx(sigma**2, rel=1e-5)
    np.testing.assert_array_equal(kernel, kernel[::-1])


def test_blur_replicates_the_edge() -> None:
    clip = make_scene(2, 40, 50)
    padded = np.pad(clip, ((0, 0), (9, 9), (9, 9), (0, 0)), mode="edge")
    np.testing.assert_array_equal(
        operations.gaussian_blur(clip, 2.0), operations.gaussian_blur(padded, 2.0)[:, 9:-9, 9:-9]
    )


@pytest.mark.parametrize("size", [(17, 23), (64, 64), (5, 90), (1, 1), (240, 180)])
@pytest.mark.parametrize("box", [(0, 0, 61, 83), (3, 5, 40, 31), (10, 11, 7, 60), (60, 82, 1, 1)])
@pytest.mark.parametrize("frames", [1, 3])
def test_crop_resize_equals_pillow_to_within_1(box: tuple, size: tuple, frames: int) -> None:
    clip = np.concatenate([make_scene(frames, 61, 83)[:, :, :41], make_noise(frames, 61, 42, 3)], axis=2)
    top, left, height, width = box
    part = clip[:, top : top + height, left : left + width]
    expected = by_frame(lambda image: image.resize(size[::-1], Image.Resampling.BILINEAR), part)
    result = operations.crop_resize(clip, box, height=size[0], width=size[1])
    difference = np.abs(result.astype(int) - expected)
    # Both use fixed point, torch with weights of fewer bits, which shows where many pixels are averaged.
    assert difference.max() <= 1
    assert difference.mean() <= 0.25
    assert result.flags.c_contiguous


def test_crop_resize_at_the_usual_sizes_hardly_differs_from_pillow() -> None:
    clip = make_scene(2, 256, 340)
    for top, left, height, width in ((0, 0, 256, 340), (20, 31, 150, 170), (9, 8, 224, 201)):
        part = clip[:, top : top + height, left : left + width]
        expected = by_frame(lambda image: image.resize((224, 224), Image.Resampling.BILINEAR), part)
        result = operations.crop_resize(clip, (top, left, height, width), height=224, width=224)
        assert (result != expected).mean() <= 0.01


def test_crop_resize_without_a_change_of_size_is_a_copy() -> None:
    clip = make_noise(2, 20, 30, 3)
    result = operations.crop_resize(clip, (3, 4, 10, 12), height=10, width=12)
    np.testing.assert_array_equal(result, clip[:, 3:13, 4:16])
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, clip)


def test_crop_resize_takes_read_only_and_mirrored_clips_of_two_channels() -> None:
    clip = make_noise(3, 40, 50, 2)
    mirrored = clip[::-1, ::-1]
    mirrored.flags.writeable = False
    result = operations.crop_resize(mirrored, (2, 3, 30, 40), height=11, width=13)
    for channel in range(2):
        gray = [Image.fromarray(np.ascontiguousarray(f[2:32, 3:43, channel])) for f in mirrored]
        expected = np.stack([np.asarray(image.resize((13, 11), Image.Resampling.BILINEAR)) for image in gray])
        assert np.abs(result[..., channel].astype(int) - expected).max() <= 1


def test_flow_flips_position_and_sign() -> None:
    clip = make_noise(2, 5, 8, 2)
    flipped = operations.flip_flow(clip)
    np.testing.assert_array_equal(flipped[:, :, 0, 0], 255 - clip[:, :, 7, 0])
    np.testing.assert_array_equal(flipped[:, :, 2, 1], clip[:, :, 5, 1])
    np.testing.assert_array_equal(operations.flip_flow(flipped), clip)
    assert flipped.flags.c_contiguous


def test_zero_bits_are_black() -> None:
    assert not operations.posterize(CLIPS["scene"], 0).any()


def test_paste_covers_all_frames_alike_and_nothing_else() -> None:
    clip = make_noise(3, 10, 12, 3)
    patch = make_noise(4, 5, 3)
    result = operations.paste(clip, patch, top=2, left=6)
    assert (result[:, 2:6, 6:11] == patch).all()
    result[:, 2:6, 6:11] = clip[:, 2:6, 6:11]
    np.testing.assert_array_equal(result, clip)
