"""Training transforms, and the resize and crops of the evaluation.

A transform is called with a clip, uint8 [T, H, W, C], and a numpy generator. Every parameter is drawn once for all
frames of the clip, so that a still clip stays still (except for the noise of random erasing), and the same generator
state gives the same clip. Transforms are plain values: they can be pickled, compared and printed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dataset.transforms import operations
from dataset.transforms.operations import Clip
from dataset.transforms.rand_augment import INCREASING_OPERATIONS, PAPER_OPERATIONS, RandAugment
from utils.config.network_names import IMAGENET, Normalization
from utils.parts import TRANSFORMS, find_part

Step = Callable[[Clip, np.random.Generator], Clip]

TRANSFORM_TYPES = tuple(TRANSFORMS)
ASPECT_RATIOS = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10
FULL_MAGNITUDE = 30  # largest ra_m
ERASE_AREA = (0.02, 1 / 3)
ERASE_RATIOS = (0.3, 1 / 0.3)
ERASE_ATTEMPTS = 10


def draw_crop(
    height: int, width: int, *, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a box (top, left, height, width) of uniform area fraction and log-uniform aspect ratio.

    If CROP_ATTEMPTS boxes in a row do not fit, it is the largest central box of an allowed aspect ratio, as in
    torchvision's RandomResizedCrop (Szegedy et al., 2015).
    """
    for _ in range(CROP_ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(ASPECT_RATIOS[0]), math.log(ASPECT_RATIOS[1])))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            return top, left, box_height, box_width
    box_height, box_width = height, width
    if width / height < ASPECT_RATIOS[0]:
        box_height = round(width / ASPECT_RATIOS[0])
    elif width / height > ASPECT_RATIOS[1]:
        box_width = round(height * ASPECT_RATIOS[1])
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """Crops a random box out of all frames and resizes it to `size` x `size` pixels."""

    size: int
    scale: tuple[float, float]

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return a random crop, uint8 [T, size, size, C]."""
        height, width = clip.shape[1:3]
        box = draw_crop(height, width, scale=self.scale, rng=rng)
        return operations.crop_resize(clip, box, height=self.size, width=self.size)


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Jitters brightness, contrast, saturation (factors 1 +- amount) and hue (+- amount turns) in random order."""

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the clip with random changes in random order."""
        changes = (
            (operations.brightness, rng.uniform(1 - self.brightness, 1 + self.brightness)),
            (operations.contrast, rng.uniform(1 - self.contrast, 1 + self.contrast)),
            (operations.saturation, rng.uniform(1 - self.saturation, 1 + self.saturation)),
            (operations.hue, rng.uniform(-self.hue, self.hue)),
        )
        for index in rng.permutation(len(changes)):
            operation, value = changes[index]
            clip = operation(clip, value)
        return clip


@dataclass(frozen=True, slots=True)
class GaussianBlur:
    """Blurs with a sigma drawn uniformly from a range, pixels."""

    sigma: tuple[float, float]

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the blurred clip."""
        return operations.gaussian_blur(clip, rng.uniform(*self.sigma))


@dataclass(frozen=True, slots=True)
class RandomErasing:
    """Replaces a box by noise (Zhong et al., 2020): the same box in all frames, fresh noise in each.

    The noise is standard normal after normalization, as in implementations that erase normalized floats; as uint8 it is
    rounded and clipped to 0..255 (2.1 to 2.6 standard deviations from ImageNet's mean).
    """

    normalization: Normalization = IMAGENET

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Return the clip with a random box erased, or unchanged if none of ERASE_ATTEMPTS boxes fits."""
        frames, height, width, channels = clip.shape
        for _ in range(ERASE_ATTEMPTS):
            area = height * width * rng.uniform(*ERASE_AREA)
            ratio = math.exp(rng.uniform(math.log(ERASE_RATIOS[0]), math.log(ERASE_RATIOS[1])))
            box_height, box_width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < box_height < height and 0 < box_width < width:
                top = int(rng.integers(0, height - box_height + 1))
                left = int(rng.integers(0, width - box_width + 1))
                noise = rng.standard_normal((frames, box_height, box_width, channels))
                values = noise * self.normalization.std + self.normalization.mean
                patch = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
                return operations.paste(clip, patch, top=top, left=left)
        return clip


@dataclass(frozen=True, slots=True)
class Fixed:
    """A step that always applies an operation without parameters."""

    operation: Callable[[Clip], Clip]

    def __call__(self, clip: Clip, _rng: np.random.Generator) -> Clip:
        """Apply the operation; nothing is drawn."""
        return self.operation(clip)


@dataclass(frozen=True, slots=True)
class Sometimes:
    """A step applied with a probability."""

    probability: float
    step: Step

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Apply the step with its probability."""
        return self.step(clip, rng) if rng.random() < self.probability else clip


@dataclass(frozen=True, slots=True)
class TrainTransform:
    """A sequence of steps for clips uint8 [T, H, W, channels] of any T, H, W; the first step crops."""

    steps: tuple[Step, ...]
    channels: int

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Apply all steps in order.

        Raises:
            ValueError: The argument is no clip, or has another number of channels.
        """
        _check_clip(clip)
        if clip.shape[-1] != self.channels:
            raise ValueError(f"the transform is for clips of {self.channels} channels, not {clip.shape[-1]}")
        for step in self.steps:
            clip = step(clip, rng)
        return clip


def _check_clip(clip: Clip) -> None:
    if clip.dtype != np.uint8 or clip.ndim != 4 or 0 in clip.shape:
        raise ValueError(f"a clip is uint8 [T, H, W, C] and not empty; this is {clip.dtype} {list(clip.shape)}")


@dataclass(frozen=True, slots=True)
class RecipeSettings:
    """The settings that the steps of a recipe may depend on.

    Attributes:
        flip: The random horizontal flip, to be placed among the steps; empty if clips are not to be mirrored.
        ra_n: dataset.ra_n.
        ra_m: dataset.ra_m, 0 to 30.
        normalization: The normalization applied after the transform.
    """

    flip: tuple[Step, ...]
    ra_n: int
    ra_m: float
    normalization: Normalization


@dataclass(frozen=True, slots=True)
class Recipe:
    """An augmentation of RGB clips: a row of utils.parts.TRANSFORMS.

    Attributes:
        crop_scale: Smallest and largest area of a crop, as fractions of the frame's area.
        make_steps: Returns the steps after the crop; they keep the shape of a clip.
    """

    crop_scale: tuple[float, float]
    make_steps: Callable[[RecipeSettings], tuple[Step, ...]]


def build_train_transform(
    transform_type: str,
    *,
    crop_size: int,
    ra_n: int = 0,
    ra_m: float = 0,
    horizontal_flip: bool,
    use_flow: bool = False,
    crop_scale: tuple[float, float] | None = None,
    normalization: Normalization = IMAGENET,
) -> TrainTransform:
    """Build the transform of training clips.

    Args:
        transform_type: Recipe for RGB clips, a key of utils.parts.TRANSFORMS.
        crop_size: Height and width of the result, pixels.
        ra_n: Number of operations of "rand_augment".
        ra_m: Their magnitude, 0 to 30.
        horizontal_flip: Whether half of the clips are mirrored (left and right matter in some datasets).
        use_flow: For optical flow clips [T, H, W, 2], whatever the `transform_type`: crop, and a flip that negates x.
        crop_scale: Smallest and largest area of a crop, as fractions of the frame's area; None for the default: 0.2 to
            1, "mvit_default" 0.08 to 1, flow 0.5 to 1.
        normalization: The normalization applied later; it makes the noise of "mvit_default" standard normal.

    Returns:
        transform(clip, rng) -> C-contiguous uint8 [T, crop_size, crop_size, C]; it does not change its argument.

    Raises:
        ValueError: The type is unknown, the magnitude out of range, or the size not positive.
    """
    _check_settings(transform_type, crop_size)
    flip: tuple[Step, ...] = ()
    if horizontal_flip:
        flip = (Sometimes(0.5, Fixed(operations.flip_flow if use_flow else operations.flip_horizontal)),)
    if use_flow:
        return TrainTransform((RandomResizedCrop(crop_size, crop_scale or (0.5, 1.0)), *flip), channels=2)
    recipe: Recipe = find_part(TRANSFORMS[transform_type])
    crop = RandomResizedCrop(crop_size, crop_scale or recipe.crop_scale)
    settings = RecipeSettings(flip, ra_n, ra_m, normalization)
    return TrainTransform((crop, *recipe.make_steps(settings)), channels=3)


def _check_settings(transform_type: str, crop_size: int) -> None:
    if transform_type not in TRANSFORM_TYPES:
        raise ValueError(f"unknown transform_type {transform_type!r}; there are {', '.join(TRANSFORM_TYPES)}")
    if crop_size < 1:
        raise ValueError(f"crop_size {crop_size} is not positive")


def _default_steps(settings: RecipeSettings) -> tuple[Step, ...]:
    return (
        Sometimes(0.8, ColorJitter(0.4, 0.4, 0.4, 0.1)),
        Sometimes(0.2, Fixed(operations.grayscale)),
        Sometimes(0.5, GaussianBlur((0.1, 2.0))),
        *settings.flip,
    )


def _rand_augment_steps(settings: RecipeSettings) -> tuple[Step, ...]:
    if settings.ra_n < 0:
        raise ValueError(f"ra_n {settings.ra_n} is negative")
    if not 0 <= settings.ra_m <= FULL_MAGNITUDE:
        raise ValueError(f"ra_m {settings.ra_m} is outside of 0..{FULL_MAGNITUDE}")
    return RandAugment(PAPER_OPERATIONS, settings.ra_n, settings.ra_m / FULL_MAGNITUDE), *settings.flip


def _mvit_steps(settings: RecipeSettings) -> tuple[Step, ...]:
    """Return the steps of MViT's recipe (Fan et al., 2021) after the crop.

    Known for the paper's networks are the scale of the crop, magnitude 7, 4 operations, deviation 0.5 (both of 10), and
    erasing with probability 0.25. Not known, and chosen as is common with these: the table (increasing severity), the
    probability 0.5 of a drawn operation, bicubic interpolation with gray fill, and the erased area and noise. The crop
    is bilinear.
    """
    operations = RandAugment(INCREASING_OPERATIONS, 4, 0.7, deviation=0.05, probability=0.5)
    return operations, *settings.flip, Sometimes(0.25, RandomErasing(settings.normalization))


# Color jitter, grayscale, blur, flip.
DEFAULT = Recipe((0.2, 1.0), _default_steps)
# RandAugment with ra_n of the paper's 16 operations at strength ra_m / 30, flip.
RAND_AUGMENT = Recipe((0.2, 1.0), _rand_augment_steps)
# RandAugment "m7-n4-mstd0.5", flip, random erasing.
MVIT_DEFAULT = Recipe((0.08, 1.0), _mvit_steps)


def resize_short_side(clip: Clip, size: int) -> Clip:
    """Resize a clip, uint8 [T, H, W, C], to a short side of `size` pixels, keeping the aspect ratio.

    The result is C-contiguous. It is not a copy if the clip is C-contiguous and has that size already.
    """
    _check_clip(clip)
    height, width = clip.shape[1:3]
    short = min(height, width)
    if short == size:
        return np.ascontiguousarray(clip)
    box = (0, 0, height, width)
    return operations.crop_resize(clip, box, height=size * height // short, width=size * width // short)


def crop_position(height: int, width: int, size: int, *, crop_idx: int) -> tuple[int, int]:
    """Return the position of a square evaluation crop.

    Args:
        height: Height of the frame, pixels.
        width: Width of the frame, pixels.
        size: Side of the crop, pixels.
        crop_idx: 0 for the center, 1 for the top left, 2 for the bottom right.

    Returns:
        (top, left), pixels.

    Raises:
        ValueError: The frame is smaller than the crop, or crop_idx is none of these.
    """
    if size > min(height, width):
        raise ValueError(f"a crop of {size} pixels does not fit into a frame of {width} x {height} (width x height)")
    rows, columns = height - size, width - size
    positions = ((round(rows / 2), round(columns / 2)), (0, 0), (rows, columns))
    if crop_idx not in range(len(positions)):
        raise ValueError(f"crop_idx {crop_idx} is outside of 0..{len(positions) - 1}")
    return positions[crop_idx]


def evaluation_transform(clip: Clip, *, size: int) -> Clip:
    """Resize the short side to `size` pixels and crop the center: C-contiguous uint8 [T, size, size, C]."""
    resized = resize_short_side(clip, size)
    height, width = resized.shape[1:3]
    top, left = crop_position(height, width, size, crop_idx=0)
    return np.ascontiguousarray(resized[:, top : top + size, left : left + size])
