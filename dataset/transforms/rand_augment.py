"""RandAugment (Cubuk et al., 2020): a few operations drawn from a table, applied at one strength."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from dataset.transforms import operations
from dataset.transforms.operations import Clip

CUTOUT_COLOR = (125, 123, 114)
BLACK, GRAY = 0, 128


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of an operation table.

    Attributes:
        name: Name of the operation.
        limit: Value of its parameter at strength 1; 0 if it has none.
        signed: Whether the value is negated with probability 0.5.
        apply: Takes the clip, the value and a generator for further draws; returns a new clip.
    """

    name: str
    limit: float
    signed: bool
    apply: Callable[[Clip, float, np.random.Generator], Clip]


@dataclass(frozen=True, slots=True)
class RandAugment:
    """Draws `count` operations with replacement and applies them in sequence.

    Attributes:
        operations: The table to draw from.
        count: Number of operations to draw.
        strength: Fraction of each operation's limit, 0 to 1.
        deviation: Standard deviation of the strength, which is drawn for each operation and clipped to 0..1.
        probability: Probability that a drawn operation is applied.
    """

    operations: tuple[Operation, ...]
    count: int
    strength: float
    deviation: float = 0.0
    probability: float = 1.0

    def __call__(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """Augment a clip, uint8 [T, H, W, 3]; all frames get the same operations."""
        for _ in range(self.count):
            operation = self.operations[rng.integers(len(self.operations))]
            if rng.random() >= self.probability:
                continue
            value = operation.limit * float(np.clip(rng.normal(self.strength, self.deviation), 0, 1))
            if operation.signed and rng.random() < 0.5:
                value = -value
            clip = operation.apply(clip, value, rng)
        return clip


def _apply(operation: Callable[[Clip], Clip], clip: Clip, _value: float, _rng: np.random.Generator) -> Clip:
    return operation(clip)


def _enhance(operation: Callable[[Clip, float], Clip], clip: Clip, value: float, _rng: np.random.Generator) -> Clip:
    return operation(clip, 1 + value)


def _posterize(clip: Clip, value: float, _rng: np.random.Generator) -> Clip:
    return operations.posterize(clip, 4 - int(value))


def _solarize(clip: Clip, value: float, _rng: np.random.Generator) -> Clip:
    return operations.solarize(clip, 256 - value)


def _solarize_add(clip: Clip, value: float, _rng: np.random.Generator) -> Clip:
    return operations.solarize_add(clip, int(value))


def _move(operation: Callable[[Clip, float], Clip], clip: Clip, value: float, _rng: np.random.Generator) -> Clip:
    return operation(clip, value)


def _cutout(clip: Clip, value: float, rng: np.random.Generator) -> Clip:
    """Cover a square of side value x width, clipped to the frame, around a uniformly drawn point.

    The last row and column are included, as in a rectangle that Pillow draws: a side of 20 pixels covers 21.
    """
    height, width, channels = clip.shape[1:]
    side = value * width
    left, top = (int(max(0, rng.uniform(0, size) - side / 2)) for size in (width, height))
    if value <= 0:
        return clip.copy()
    right, bottom = min(width - 1, int(left + side)), min(height - 1, int(top + side))
    patch = np.empty((bottom - top + 1, right - left + 1, channels), np.uint8)
    patch[...] = CUTOUT_COLOR
    return operations.paste(clip, patch, top=top, left=left)


# Color operations, with the same limits in both tables.
_COLOR_OPERATIONS = (
    Operation("AutoContrast", 0, False, partial(_apply, operations.autocontrast)),
    Operation("Equalize", 0, False, partial(_apply, operations.equalize)),
    Operation("Invert", 0, False, partial(_apply, operations.invert)),
    Operation("Posterize", 4, False, _posterize),
    Operation("Solarize", 256, False, _solarize),
    Operation("SolarizeAdd", 110, False, _solarize_add),
    Operation("Color", 0.9, True, partial(_enhance, operations.saturation)),
    Operation("Contrast", 0.9, True, partial(_enhance, operations.contrast)),
    Operation("Brightness", 0.9, True, partial(_enhance, operations.brightness)),
    Operation("Sharpness", 0.9, True, partial(_enhance, operations.sharpness)),
)


def _geometric_operations(*, translation: float, fill: int, warp: operations.Warp) -> tuple[Operation, ...]:
    def row(name: str, limit: float, operation: Callable[..., Clip]) -> Operation:
        return Operation(name, limit, True, partial(_move, partial(operation, fill=fill, warp=warp)))

    return (
        row("Rotate", 30, operations.rotate),
        row("ShearX", 0.3, operations.shear_x),
        row("ShearY", 0.3, operations.shear_y),
        row("TranslateX", translation, operations.translate_x),
        row("TranslateY", translation, operations.translate_y),
    )


# The paper's table: 16 operations; geometric ones with nearest-neighbor interpolation and black fill.
PAPER_OPERATIONS = (
    *_COLOR_OPERATIONS,
    *_geometric_operations(translation=0.4464, fill=BLACK, warp=operations.warp_nearest),
    Operation("Cutout", 0.3571, False, _cutout),
)

# The table commonly used for MViT ("rand-m7-n4-mstd0.5-inc1"): 15 operations, all stronger with rising magnitude, no
# cutout (random erasing replaces it), bicubic interpolation, gray fill.
INCREASING_OPERATIONS = (
    *_COLOR_OPERATIONS,
    *_geometric_operations(translation=0.45, fill=GRAY, warp=operations.warp_bicubic),
)
