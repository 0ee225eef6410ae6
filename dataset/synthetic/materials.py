"""Six materials: each video shows a large swaying object of one material in front of a cluttered scene.

Only the object's texture and color distinguish the classes, in any single frame; all classes move alike.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from dataset.synthetic.clutter import HEIGHT, WIDTH, Backdrop, Timing

_SIDE = 420  # side of a texture, pixels
_SCALE = (0.55, 0.95)  # scale of a texture in the frame


def _grain(rng: np.random.Generator, across: float, along: float) -> np.ndarray:
    """Return Gaussian noise, blurred by `across` pixels in x and `along` in y: [side, side], standard deviation 1."""
    noise = cv2.GaussianBlur(rng.standard_normal((_SIDE, _SIDE)), (0, 0), sigmaX=across, sigmaY=along)
    return noise / noise.std()


def _bricks(rng: np.random.Generator) -> np.ndarray:
    row, column = np.mgrid[0:_SIDE, 0:_SIDE]
    height = rng.uniform(32, 46)
    shifted = column + (row // height % 2) * height
    return np.where((row % height < 6) | (shifted % (2 * height) < 6), 1.6, _grain(rng, 3, 3) * 0.3)


def _checks(rng: np.random.Generator) -> np.ndarray:
    row, column = np.mgrid[0:_SIDE, 0:_SIDE] // rng.uniform(32, 55)
    return np.where((row.astype(int) + column.astype(int)) % 2, 2.0, -2.0)


def _water(rng: np.random.Generator) -> np.ndarray:
    row, column = np.mgrid[0:_SIDE, 0:_SIDE]
    bent = row + 9 * np.sin(column / rng.uniform(18, 30))
    return 1.3 * np.sin(bent / rng.uniform(4, 7))


# The mean color of each material, RGB, and the function that draws its shading, [side, side].
MATERIALS: dict[str, tuple[tuple[int, int, int], Callable[[np.random.Generator], np.ndarray]]] = {
    "brick": ((165, 80, 60), _bricks),
    "checks": ((128, 128, 128), _checks),
    "grass": ((80, 145, 60), lambda rng: _grain(rng, 0.8, 7)),
    "sand": ((205, 180, 130), lambda rng: _grain(rng, 1.2, 1.2) * 0.8),
    "water": ((60, 120, 180), _water),
    "wood": ((140, 95, 55), lambda rng: _grain(rng, 60, 2.0)),
}


def draw_texture(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a texture of a material, uint8 [side, side, 3]."""
    color, shade = MATERIALS[name]
    tint = np.asarray(color) * rng.uniform(0.75, 1.2) + rng.uniform(-18, 18, 3)
    return np.clip(tint + 26 * shade(rng)[..., None], 0, 255).astype(np.uint8)


def render(name: str, backdrop: Backdrop, rng: np.random.Generator, *, timing: Timing) -> Iterator[np.ndarray]:
    """Yield the frames of a video of a class, uint8 [480, 640, 3] each."""
    material, scale = draw_texture(name, rng), rng.uniform(*_SCALE)
    outline = np.zeros((_SIDE, _SIDE), np.uint8)
    corners = _SIDE / 2 * (1 + rng.uniform(0.75, 1, (7, 1)) * _directions(7))
    cv2.fillPoly(outline, [np.rint(corners).astype(np.int32)], (255,))
    seconds = np.arange(timing.num_frames) / timing.rate
    speed, phase, reach = rng.uniform(0.1, 0.6, 3), rng.uniform(0, 2 * np.pi, 3), rng.uniform(0, (25, 60, 40))
    angle, right, down = reach[:, None] * np.sin(2 * np.pi * speed[:, None] * seconds + phase[:, None])
    for number in range(timing.num_frames):
        turn = cv2.getRotationMatrix2D((_SIDE / 2, _SIDE / 2), angle[number], scale)
        turn[:, 2] += (WIDTH - _SIDE) / 2 + right[number], (HEIGHT - _SIDE) / 2 + down[number]
        picture = backdrop.show(number)
        mask = cv2.warpAffine(outline, turn, (WIDTH, HEIGHT)) > 127
        picture[mask] = cv2.warpAffine(material, turn, (WIDTH, HEIGHT))[mask]
        yield backdrop.finish(picture, number)


def _directions(count: int) -> np.ndarray:
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)
