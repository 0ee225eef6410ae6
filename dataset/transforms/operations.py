"""Operations on clips of bytes: what a transform may do, with every parameter given.

A clip is a uint8 array [T, H, W, C] of any strides. Each function returns a new C-contiguous uint8 clip, leaves its
argument as it was, and does the same to all frames. No function draws a random number (`recipes` does).

The meaning of every operation is Pillow's (its enhancers, `ImageOps`, affine transforms and filters); the arithmetic
is done by OpenCV, numpy and torch on the whole clip, which is several times faster than an image at a time.
`tests/dataset/transforms/test_operations.py` compares each with Pillow and lists the differences that remain.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch.nn import functional

Clip = np.ndarray  # uint8 [T, H, W, C]
Affine = tuple[float, float, float, float, float, float]
# Of clip, matrix (a, b, c, d, e, f) and fill=: takes the pixel at (x, y) from (a x + b y + c, d x + e y + f), where a
# pixel's center is at a half; `fill` is the value of those whose source lies outside of the frame.
Warp = Callable[..., Clip]

# Three box passes approximate a Gaussian; Pillow's number of passes.
BLUR_PASSES = 3
# Pillow blends by truncating, OpenCV by rounding. Just under a half, so that an exact integer is not rounded down.
TRUNCATE = -0.498
SMOOTH_KERNEL = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # PIL.ImageFilter.SMOOTH


def _map_frames(clip: Clip, operation: Callable[[np.ndarray, np.ndarray], object]) -> Clip:
    """Apply an operation on a frame [H, W, C], which writes its result into the second argument, to each frame.

    A frame fits in a processor's cache, a clip does not; and a new array for each frame costs as much as most
    operations, because memory of that size comes fresh from the system.
    """
    clip = np.ascontiguousarray(clip)
    out = np.empty_like(clip)
    for frame, target in zip(clip, out, strict=True):
        operation(frame, target)
    return out


def _look_up(clip: Clip, table: np.ndarray) -> Clip:
    """Replace every byte by its entry in one table [256] of bytes."""
    clip = np.ascontiguousarray(clip)
    return cv2.LUT(clip.reshape(len(clip), -1), table).reshape(clip.shape)


def _look_up_frames(clip: Clip, tables: np.ndarray) -> Clip:
    """Replace the bytes of frame t, channel c by their entries in tables [T, 256, C], or [T, 256, 1] for all."""
    clip = np.ascontiguousarray(clip)
    out = np.empty_like(clip)
    for target, frame, table in zip(out, clip, tables, strict=True):
        cv2.LUT(frame, table[None], dst=target)
    return out


def _blend_table(background: np.ndarray | float, factor: float) -> np.ndarray:
    """Return tables [..., 256] for background + factor * (value - background), cut off in float32 as `Image.blend`."""
    ground = np.asarray(background, np.float32)[..., None]
    values = ground + np.float32(factor) * (np.arange(256, dtype=np.float32) - ground)
    return np.clip(values, 0, 255).astype(np.uint8)


def crop_resize(clip: Clip, box: tuple[int, int, int, int], *, height: int, width: int) -> Clip:
    """Resize a part of every frame, bilinear and antialiased.

    Args:
        clip: uint8 [T, H, W, C].
        box: (top, left, height, width) of the part.
        height: Of the result.
        width: Of the result.
    """
    top, left, box_height, box_width = box
    part = clip[:, top : top + box_height, left : left + box_width]
    if part.shape[1:3] == (height, width):
        return np.array(part, order="C")
    if not part.flags.writeable or min(part.strides) < 0:  # torch shares neither with numpy
        part = part.copy()
    # The permuted view is channels-last, for which torch's uint8 kernel is far faster than for planes or floats.
    frames = torch.from_numpy(part).permute(0, 3, 1, 2)
    resized = functional.interpolate(frames, size=(height, width), mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1).contiguous().numpy()


def flip_horizontal(clip: Clip) -> Clip:
    """Mirror left and right."""
    frames, height, width, channels = clip.shape
    rows = np.ascontiguousarray(clip).reshape(frames * height, width, channels)
    return np.asarray(cv2.flip(rows, 1)).reshape(clip.shape)


def flip_flow(clip: Clip) -> Clip:
    """Mirror left and right a clip of optical flow: the x component (channel 0) also changes its sign.

    A byte b stands for a displacement proportional to b - 127.5, so 255 - b is its exact opposite.
    """
    mirrored = flip_horizontal(clip)
    mirrored[..., 0] = 255 - mirrored[..., 0]
    return mirrored


def brightness(clip: Clip, factor: float) -> Clip:
    """Blend with black: 0 gives black, 1 the clip."""
    return _look_up(clip, _blend_table(0, factor))


def contrast(clip: Clip, factor: float) -> Clip:
    """Blend every frame with its mean gray: 0 gives that gray, 1 the clip."""
    clip = np.ascontiguousarray(clip)
    means = np.array([math.floor(cv2.mean(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))[0] + 0.5) for frame in clip])
    return _look_up_frames(clip, _blend_table(means, factor)[..., None])


def saturation(clip: Clip, factor: float) -> Clip:
    """Blend with the gray clip: 0 gives gray, 1 the clip."""

    def operation(frame: np.ndarray, target: np.ndarray) -> None:
        _to_gray(frame, target)
        cv2.addWeighted(target, 1 - factor, frame, factor, TRUNCATE, dst=target)

    return _map_frames(clip, operation)


def hue(clip: Clip, turns: float) -> Clip:
    """Turn the color circle by a fraction of a full turn, -0.5 to 0.5."""
    shift = np.zeros((clip.shape[2], 3), np.uint8)
    shift[:, 0] = round(turns * 256) % 256  # the FULL scale has 256 steps a turn, so bytes wrap by themselves

    def operation(frame: np.ndarray, target: np.ndarray) -> None:
        cv2.cvtColor(frame, cv2.COLOR_RGB2HSV_FULL, dst=target)
        target += shift
        cv2.cvtColor(target, cv2.COLOR_HSV2RGB_FULL, dst=target)

    return _map_frames(clip, operation)


def grayscale(clip: Clip) -> Clip:
    """Return three equal channels of luma (ITU-R 601)."""
    return _map_frames(clip, _to_gray)


def _to_gray(frame: np.ndarray, target: np.ndarray) -> None:
    cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB, dst=target)


def blur_kernel(sigma: float) -> np.ndarray:
    """Return the kernel [K] (float32, sum 1) that Pillow's Gaussian blur of radius sigma amounts to.

    It is a box with fractional ends, three times over; its variance is sigma ** 2 for any sigma (Gwosdek et al.,
    "Theoretical foundations of Gaussian convolution by extended box filtering", 2011), so it differs little from the
    Gaussian and, below sigma 0.5, is the better approximation of the two on a pixel grid.
    """
    length = math.sqrt(12 * sigma**2 / BLUR_PASSES + 1)
    whole = math.floor((length - 1) / 2)
    end = (2 * whole + 1) * (whole * (whole + 1) - 3 * sigma**2 / BLUR_PASSES)
    end /= 6 * (sigma**2 / BLUR_PASSES - (whole + 1) ** 2)
    box = np.ones(2 * whole + 3)
    box[[0, -1]] = end
    box /= box.sum()
    kernel = np.ones(1)
    for _ in range(BLUR_PASSES):
        kernel = np.convolve(kernel, box)
    return kernel.astype(np.float32)


def gaussian_blur(clip: Clip, sigma: float) -> Clip:
    """Blur every frame; sigma in pixels, edges repeated."""
    kernel = blur_kernel(sigma)
    return _map_frames(
        clip,
        lambda frame, target: cv2.sepFilter2D(frame, -1, kernel, kernel, dst=target, borderType=cv2.BORDER_REPLICATE),
    )


def sharpness(clip: Clip, factor: float) -> Clip:
    """Blend with a smoothed clip (the frame's outermost pixels are not smoothed): 0 gives it, 1 the clip."""

    def operation(frame: np.ndarray, target: np.ndarray) -> None:
        if min(frame.shape[:2]) < 3:
            target[...] = frame
            return
        cv2.filter2D(frame, -1, SMOOTH_KERNEL, dst=target)
        target[[0, -1]] = frame[[0, -1]]
        target[:, [0, -1]] = frame[:, [0, -1]]
        cv2.addWeighted(target, 1 - factor, frame, factor, TRUNCATE, dst=target)

    return _map_frames(clip, operation)


def autocontrast(clip: Clip) -> Clip:
    """Stretch every channel of every frame to 0..255; a constant channel stays."""
    low = clip.min(axis=1).min(axis=1)[:, None].astype(np.float64)  # [T, 1, C]
    high = clip.max(axis=1).max(axis=1)[:, None].astype(np.float64)
    values = np.arange(256)[None, :, None]
    scale = 255 / np.maximum(high - low, 1)
    stretched = np.clip((values * scale - low * scale).astype(np.int64), 0, 255)
    return _look_up_frames(clip, np.where(high > low, stretched, values).astype(np.uint8))


def equalize(clip: Clip) -> Clip:
    """Make the histogram of every channel of every frame as flat as a table can."""
    clip = np.ascontiguousarray(clip)
    tables = np.empty((len(clip), 256, clip.shape[-1]), np.uint8)
    for frame, table in zip(clip, tables, strict=True):
        for channel in range(clip.shape[-1]):
            histogram = cv2.calcHist([frame], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
            table[:, channel] = _equalizing_table(histogram)
    return _look_up_frames(clip, tables)


def _equalizing_table(histogram: np.ndarray) -> np.ndarray:
    """Return the table [256] for a histogram [256]: the fraction of smaller values; the brightest does not count."""
    step = (histogram.sum() - histogram[histogram.nonzero()[0][-1]]) // 255
    if step == 0:
        return np.arange(256)
    below = np.cumsum(histogram) - histogram
    return np.minimum((step // 2 + below) // step, 255)


def invert(clip: Clip) -> Clip:
    """Return 255 - value."""
    return np.bitwise_not(np.ascontiguousarray(clip))


def posterize(clip: Clip, bits: int) -> Clip:
    """Keep the highest bits of every byte: 0 (black) to 8 (the clip)."""
    return np.bitwise_and(np.ascontiguousarray(clip), np.uint8(256 - 2 ** (8 - bits)))


def solarize(clip: Clip, threshold: float) -> Clip:
    """Invert the values that are not below a threshold."""
    values = np.arange(256)
    return _look_up(clip, np.where(values < threshold, values, 255 - values).astype(np.uint8))


def solarize_add(clip: Clip, amount: int) -> Clip:
    """Add to the values below 128."""
    values = np.arange(256)
    return _look_up(clip, np.where(values < 128, np.clip(values + amount, 0, 255), values).astype(np.uint8))


def warp_nearest(clip: Clip, matrix: Affine, *, fill: int) -> Clip:
    """Take the nearest pixel. Arguments as those of a Warp."""
    height, width, channels = clip.shape[1:]
    nearest, border = _nearest_pixels(matrix, height=height, width=width), (float(fill),) * channels
    return _map_frames(
        clip,
        lambda frame, target: cv2.remap(
            frame, nearest, np.empty(0), cv2.INTER_NEAREST, target, cv2.BORDER_CONSTANT, border
        ),
    )


def warp_bicubic(clip: Clip, matrix: Affine, *, fill: int) -> Clip:
    """Interpolate between 4 x 4 pixels. Arguments as those of a Warp."""
    height, width = clip.shape[1:3]
    x, y = _source_positions(matrix, height=height, width=width)
    pixels, fractions = cv2.convertMaps((x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32), cv2.CV_16SC2)
    moved = _map_frames(
        clip,
        lambda frame, target: cv2.remap(
            frame, pixels, fractions, cv2.INTER_CUBIC, dst=target, borderMode=cv2.BORDER_REPLICATE
        ),
    )
    moved[:, (x < 0) | (x >= width) | (y < 0) | (y >= height)] = fill
    return moved


def _source_positions(matrix: Affine, *, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return source x and y (float64 [H, W]) of every pixel's center."""
    a, b, c, d, e, f = matrix
    columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    return a * columns + b * rows + c, d * columns + e * rows + f


def _nearest_pixels(matrix: Affine, *, height: int, width: int) -> np.ndarray:
    """Return the source column and row of every pixel, int16 [H, W, 2]; those outside of the frame are just outside.

    Pillow computes them with 16 bits of fraction, unless the axes stay apart. The same is done here, so that the same
    pixels are taken.
    """
    a, b, c, d, e, f = matrix
    if b == 0 and d == 0:
        x, y = (np.floor(position) for position in _source_positions(matrix, height=height, width=width))
    else:
        columns, rows = np.arange(width), np.arange(height)[:, None]
        a, b, c, d, e, f = (
            math.floor(value * 65536 + 0.5) for value in (a, b, c + 0.5 * a + 0.5 * b, d, e, f + 0.5 * d + 0.5 * e)
        )
        x, y = (a * columns + b * rows + c) >> 16, (d * columns + e * rows + f) >> 16
    pixels = np.empty((height, width, 2), np.int16)
    pixels[..., 0], pixels[..., 1] = x.clip(-1, width), y.clip(-1, height)
    return pixels


def rotate(clip: Clip, degrees: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Rotate counter-clockwise about the center of the frame; the size stays."""
    height, width = clip.shape[1:3]
    angle = -math.radians(degrees)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    center_x, center_y = width / 2, height / 2
    shift_x = -cosine * center_x - sine * center_y + center_x
    shift_y = sine * center_x - cosine * center_y + center_y
    return warp(clip, (cosine, sine, shift_x, -sine, cosine, shift_y), fill=fill)


def shear_x(clip: Clip, amount: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Move each row to the left by `amount` times its distance from the top."""
    return warp(clip, (1, amount, 0, 0, 1, 0), fill=fill)


def shear_y(clip: Clip, amount: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Move each column up by `amount` times its distance from the left."""
    return warp(clip, (1, 0, 0, amount, 1, 0), fill=fill)


def translate_x(clip: Clip, widths: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Move the frame to the left by a part of its width."""
    return warp(clip, (1, 0, widths * clip.shape[2], 0, 1, 0), fill=fill)


def translate_y(clip: Clip, heights: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Move the frame up by a part of its height."""
    return warp(clip, (1, 0, 0, 0, 1, heights * clip.shape[1]), fill=fill)


def paste(clip: Clip, patch: np.ndarray, *, top: int, left: int) -> Clip:
    """Put a patch at the same place of every frame: uint8 [h, w, C] for all (cutout), or [T, h, w, C] (erasing)."""
    height, width = patch.shape[-3:-1]
    out = np.array(clip, order="C")
    out[:, top : top + height, left : left + width] = patch
    return out
