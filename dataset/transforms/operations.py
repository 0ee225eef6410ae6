"""Deterministic operations on uint8 clips.

A clip is a uint8 array [T, H, W, C] of any strides. Each function applies the same operation to all frames and returns
a new C-contiguous uint8 clip; its argument is not changed. All random numbers are drawn by `recipes`.

The operations are defined as in Pillow (its enhancers, `ImageOps`, affine transforms and filters), but computed by
OpenCV, numpy and torch on whole clips, which is several times faster than one image at a time.
`tests/dataset/transforms/test_operations.py` compares each with Pillow and lists the remaining differences.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch.nn import functional

Clip = np.ndarray  # uint8 [T, H, W, C]
Affine = tuple[float, float, float, float, float, float]
# warp(clip, matrix, fill=...) with the matrix (a, b, c, d, e, f): the pixel at (x, y) takes the value at
# (a x + b y + c, d x + e y + f), where pixel centers are at half-integers, or `fill` if that is outside the frame.
Warp = Callable[..., Clip]

# Box blurs that approximate a Gaussian, as many as in Pillow.
BLUR_PASSES = 3
# An offset that makes OpenCV, which rounds, blend like Pillow, which truncates; just under a half, so that an exact
# integer is not rounded down.
TRUNCATE = -0.498
SMOOTH_KERNEL = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13  # PIL.ImageFilter.SMOOTH


def _map_frames(clip: Clip, operation: Callable[[np.ndarray, np.ndarray], object]) -> Clip:
    """Apply operation(frame, out) to each frame [H, W, C].

    A frame fits into the CPU cache, a clip does not. Allocating an array for each frame would cost as much as most
    operations, because memory of that size is mapped anew each time.
    """
    clip = np.ascontiguousarray(clip)
    out = np.empty_like(clip)
    for frame, target in zip(clip, out, strict=True):
        operation(frame, target)
    return out


def _look_up(clip: Clip, table: np.ndarray) -> Clip:
    """Apply one lookup table, uint8 [256], to all values."""
    clip = np.ascontiguousarray(clip)
    return cv2.LUT(clip.reshape(len(clip), -1), table).reshape(clip.shape)


def _look_up_frames(clip: Clip, tables: np.ndarray) -> Clip:
    """Apply a lookup table to each frame and channel: tables uint8 [T, 256, C], or [T, 256, 1] for all channels."""
    clip = np.ascontiguousarray(clip)
    out = np.empty_like(clip)
    for target, frame, table in zip(out, clip, tables, strict=True):
        cv2.LUT(frame, table[None], dst=target)
    return out


def _blend_table(background: np.ndarray | float, factor: float) -> np.ndarray:
    """Return tables [..., 256] of background + factor * (value - background), clipped in float32 like `Image.blend`."""
    ground = np.asarray(background, np.float32)[..., None]
    values = ground + np.float32(factor) * (np.arange(256, dtype=np.float32) - ground)
    return np.clip(values, 0, 255).astype(np.uint8)


def crop_resize(clip: Clip, box: tuple[int, int, int, int], *, height: int, width: int) -> Clip:
    """Crop a box out of every frame and resize it, bilinear and antialiased.

    Args:
        clip: uint8 [T, H, W, C].
        box: The crop (top, left, height, width), pixels.
        height: Height of the result, pixels.
        width: Width of the result, pixels.
    """
    top, left, box_height, box_width = box
    part = clip[:, top : top + box_height, left : left + box_width]
    if part.shape[1:3] == (height, width):
        return np.array(part, order="C")
    if not part.flags.writeable or min(part.strides) < 0:  # torch.from_numpy takes neither
        part = part.copy()
    # The permuted view is channels_last: torch's uint8 kernel is far faster for it than for contiguous or float input.
    frames = torch.from_numpy(part).permute(0, 3, 1, 2)
    resized = functional.interpolate(frames, size=(height, width), mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1).contiguous().numpy()


def flip_horizontal(clip: Clip) -> Clip:
    """Mirror left and right."""
    frames, height, width, channels = clip.shape
    rows = np.ascontiguousarray(clip).reshape(frames * height, width, channels)
    return np.asarray(cv2.flip(rows, 1)).reshape(clip.shape)


def flip_flow(clip: Clip) -> Clip:
    """Mirror left and right of an optical flow clip, and negate its x component (channel 0).

    A byte b encodes a displacement proportional to b - 127.5, so 255 - b encodes exactly its negative.
    """
    mirrored = flip_horizontal(clip)
    mirrored[..., 0] = 255 - mirrored[..., 0]
    return mirrored


def brightness(clip: Clip, factor: float) -> Clip:
    """Blend with black: factor 0 gives black, 1 the clip."""
    return _look_up(clip, _blend_table(0, factor))


def contrast(clip: Clip, factor: float) -> Clip:
    """Blend every frame with its mean gray level: factor 0 gives that level, 1 the clip."""
    clip = np.ascontiguousarray(clip)
    means = np.array([math.floor(cv2.mean(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))[0] + 0.5) for frame in clip])
    return _look_up_frames(clip, _blend_table(means, factor)[..., None])


def saturation(clip: Clip, factor: float) -> Clip:
    """Blend with the grayscale clip: factor 0 gives grayscale, 1 the clip."""

    def operation(frame: np.ndarray, target: np.ndarray) -> None:
        _to_gray(frame, target)
        cv2.addWeighted(target, 1 - factor, frame, factor, TRUNCATE, dst=target)

    return _map_frames(clip, operation)


def hue(clip: Clip, turns: float) -> Clip:
    """Shift the hue by a fraction of a full turn, -0.5 to 0.5."""
    shift = np.zeros((clip.shape[2], 3), np.uint8)
    shift[:, 0] = round(turns * 256) % 256  # HSV_FULL has 256 hue steps per turn, so uint8 wraps around correctly

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
    """Return the kernel of Pillow's Gaussian blur of radius sigma, float32 [K], sum 1.

    It is an extended box filter (a box with fractional ends) applied three times. Its variance is sigma ** 2 for any
    sigma (Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering", 2011), so it
    differs little from the Gaussian and, below sigma 0.5, is the better approximation of the two on a pixel grid.
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
    """Blur every frame with a Gaussian of `sigma` pixels; edges are replicated."""
    kernel = blur_kernel(sigma)
    return _map_frames(
        clip,
        lambda frame, target: cv2.sepFilter2D(frame, -1, kernel, kernel, dst=target, borderType=cv2.BORDER_REPLICATE),
    )


def sharpness(clip: Clip, factor: float) -> Clip:
    """Blend with a smoothed clip (the outermost pixels are not smoothed): factor 0 gives that, 1 the clip."""

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
    """Stretch every channel of every frame to 0..255; a constant channel is kept."""
    low = clip.min(axis=1).min(axis=1)[:, None].astype(np.float64)  # [T, 1, C]
    high = clip.max(axis=1).max(axis=1)[:, None].astype(np.float64)
    values = np.arange(256)[None, :, None]
    scale = 255 / np.maximum(high - low, 1)
    stretched = np.clip((values * scale - low * scale).astype(np.int64), 0, 255)
    return _look_up_frames(clip, np.where(high > low, stretched, values).astype(np.uint8))


def equalize(clip: Clip) -> Clip:
    """Equalize the histogram of every channel of every frame."""
    clip = np.ascontiguousarray(clip)
    tables = np.empty((len(clip), 256, clip.shape[-1]), np.uint8)
    for frame, table in zip(clip, tables, strict=True):
        for channel in range(clip.shape[-1]):
            histogram = cv2.calcHist([frame], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
            table[:, channel] = _equalizing_table(histogram)
    return _look_up_frames(clip, tables)


def _equalizing_table(histogram: np.ndarray) -> np.ndarray:
    """Return the equalizing table [256] of a histogram [256]; like Pillow, it does not count the largest value."""
    step = (histogram.sum() - histogram[histogram.nonzero()[0][-1]]) // 255
    if step == 0:
        return np.arange(256)
    below = np.cumsum(histogram) - histogram
    return np.minimum((step // 2 + below) // step, 255)


def invert(clip: Clip) -> Clip:
    """Return 255 - value."""
    return np.bitwise_not(np.ascontiguousarray(clip))


def posterize(clip: Clip, bits: int) -> Clip:
    """Keep the `bits` highest bits of every value: 0 gives black, 8 the clip."""
    return np.bitwise_and(np.ascontiguousarray(clip), np.uint8(256 - 2 ** (8 - bits)))


def solarize(clip: Clip, threshold: float) -> Clip:
    """Invert the values of at least `threshold`."""
    values = np.arange(256)
    return _look_up(clip, np.where(values < threshold, values, 255 - values).astype(np.uint8))


def solarize_add(clip: Clip, amount: int) -> Clip:
    """Add `amount` to the values below 128."""
    values = np.arange(256)
    return _look_up(clip, np.where(values < 128, np.clip(values + amount, 0, 255), values).astype(np.uint8))


def warp_nearest(clip: Clip, matrix: Affine, *, fill: int) -> Clip:
    """Apply an affine transform with nearest-neighbor interpolation; arguments as for Warp."""
    height, width, channels = clip.shape[1:]
    nearest, border = _nearest_pixels(matrix, height=height, width=width), (float(fill),) * channels
    return _map_frames(
        clip,
        lambda frame, target: cv2.remap(
            frame, nearest, np.empty(0), cv2.INTER_NEAREST, target, cv2.BORDER_CONSTANT, border
        ),
    )


def warp_bicubic(clip: Clip, matrix: Affine, *, fill: int) -> Clip:
    """Apply an affine transform with bicubic interpolation; arguments as for Warp."""
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
    """Return the source x and y of every pixel's center, float64 [H, W] each."""
    a, b, c, d, e, f = matrix
    columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    return a * columns + b * rows + c, d * columns + e * rows + f


def _nearest_pixels(matrix: Affine, *, height: int, width: int) -> np.ndarray:
    """Return the source column and row of every pixel, int16 [H, W, 2], clipped to one pixel outside the frame.

    Pillow computes them in fixed point with 16 fractional bits, unless the transform is axis-aligned. The same is done
    here, so that the same pixels are taken.
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
    """Rotate counter-clockwise about the center of the frame; the size is kept."""
    height, width = clip.shape[1:3]
    angle = -math.radians(degrees)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    center_x, center_y = width / 2, height / 2
    shift_x = -cosine * center_x - sine * center_y + center_x
    shift_y = sine * center_x - cosine * center_y + center_y
    return warp(clip, (cosine, sine, shift_x, -sine, cosine, shift_y), fill=fill)


def shear_x(clip: Clip, amount: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Shift each row left by `amount` times its distance from the top."""
    return warp(clip, (1, amount, 0, 0, 1, 0), fill=fill)


def shear_y(clip: Clip, amount: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Shift each column up by `amount` times its distance from the left."""
    return warp(clip, (1, 0, 0, amount, 1, 0), fill=fill)


def translate_x(clip: Clip, widths: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Shift the frame left by a fraction of its width."""
    return warp(clip, (1, 0, widths * clip.shape[2], 0, 1, 0), fill=fill)


def translate_y(clip: Clip, heights: float, *, fill: int, warp: Warp = warp_nearest) -> Clip:
    """Shift the frame up by a fraction of its height."""
    return warp(clip, (1, 0, 0, 0, 1, heights * clip.shape[1]), fill=fill)


def paste(clip: Clip, patch: np.ndarray, *, top: int, left: int) -> Clip:
    """Paste a patch at one position of every frame: uint8 [h, w, C] for all (cutout), or [T, h, w, C] (erasing)."""
    height, width = patch.shape[-3:-1]
    out = np.array(clip, order="C")
    out[:, top : top + height, left : left + width] = patch
    return out
