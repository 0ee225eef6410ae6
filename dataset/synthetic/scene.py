"""Scenes of the embedded dataset: textured sprites that move over a textured background.

The frame is a torus: what leaves on the right returns on the left. A sprite's position is drawn uniformly on it, so at
every frame index the distribution of its position (and of its angle) is the same for all motion classes. So is the
distribution of radii over all frames of a video: `grow` and `shrink` are each other's time reversal, and in the other
classes a sprite keeps a radius that a growing one has at some random frame. Hence one frame, and any unordered set of
frames, cannot distinguish a motion from its reversal.

A two-phase motion reverses once, at a random time in the middle of the video, for all sprites at once. A clip that
misses the reversal looks like a one-phase motion.

The aspect ratio is 4:3, so that the three crops of an evaluation differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Quantity = Literal["x", "y", "angle", "radius"]
Outline = Literal["disc", "polygon", "star"]
Pattern = Literal["stripes", "checks", "halves", "wedges"]

# Ranges of random draws, lengths as fractions of the frame's height. At 72 px: 1.5 to 2.8 px per frame, radii of 9 to
# 20 px.
SPEED = (1.5 / 72, 2.8 / 72)
RADIUS = (9 / 72, 20 / 72)
ANGULAR_SPEED = (np.radians(5), np.radians(9))  # radians per frame; a pattern may repeat every half turn
GROWTH = (0.5, 0.75)  # log of the ratio of the last radius to the first
STRETCH = (1.5, 2.2)  # length over width of a sprite
SPRITES = (4, 6)  # number of sprites
TURN = (0.35, 0.65)  # when a two-phase motion reverses, as a fraction of the video
NOISE = 3.0  # standard deviation of the camera noise, gray levels
WAVES = 5.0  # largest amplitude of a background wave, gray levels
PATTERN = 0.7  # strength of a sprite's pattern: 0 is one color


def frame_width(height: int) -> int:
    """Return the width of a frame, pixels: even, and four thirds of its height."""
    return 2 * round(height * 2 / 3)


@dataclass(frozen=True, slots=True)
class Motion:
    """A motion class: the quantity that changes, its sign at first, and whether the motion reverses."""

    quantity: Quantity
    sign: int
    turns: bool = False


MOTIONS: dict[str, Motion] = {
    "right": Motion("x", 1),
    "left": Motion("x", -1),
    "down": Motion("y", 1),
    "up": Motion("y", -1),
    "clockwise": Motion("angle", 1),
    "counter-clockwise": Motion("angle", -1),
    "grow": Motion("radius", 1),
    "shrink": Motion("radius", -1),
    "right-left": Motion("x", 1, turns=True),
    "left-right": Motion("x", -1, turns=True),
    "down-up": Motion("y", 1, turns=True),
    "up-down": Motion("y", -1, turns=True),
}
CLASSES: tuple[str, ...] = tuple(MOTIONS)


@dataclass(frozen=True, slots=True)
class Track:
    """The trajectory of a sprite, float [T] each.

    Attributes:
        x: Center, pixels, not wrapped around.
        y: Center, pixels, not wrapped around.
        radius: Radius, pixels.
        angle: Angle, radians, clockwise on the screen.
    """

    x: Floats
    y: Floats
    radius: Floats
    angle: Floats


@dataclass(frozen=True, slots=True)
class Look:
    """The appearance of a sprite.

    Attributes:
        outline: Shape of the outline.
        corners: Number of corners of a polygon, or of points of a star.
        pattern: Pattern of the texture.
        frequency: Spatial frequency of stripes and checks, half cycles per radius.
        stretch: Length over width; the radius is their geometric mean.
        colors: The pattern's two RGB colors, 0 to 255.
    """

    outline: Outline
    corners: int
    pattern: Pattern
    frequency: float
    stretch: float
    colors: Floats  # [2, 3]


@dataclass(frozen=True, slots=True)
class Scene:
    """The content of a video: background [H, W, 3], sprites, and the frame of the reversal, infinite without one."""

    background: Floats
    sprites: tuple[tuple[Track, Look], ...]
    turn: float


def make_scene(rng: np.random.Generator, *, motion: Motion, size: int, num_frames: int) -> Scene:
    """Draw a scene; every class takes the same random numbers, so that equal seeds differ in the motion only."""
    turn = rng.uniform(*TURN) * (num_frames - 1)
    background = _make_background(rng, size)
    time = np.arange(num_frames, dtype=np.float64)
    progress = turn - np.abs(time - turn) if motion.turns else time
    count = rng.integers(SPRITES[0], SPRITES[1] + 1)
    sprites = tuple((_make_track(rng, motion, progress, size=size), _make_look(rng)) for _ in range(count))
    return Scene(background, sprites, turn if motion.turns else np.inf)


def _make_track(rng: np.random.Generator, motion: Motion, progress: Floats, *, size: int) -> Track:
    speed, spin, growth = rng.uniform(*SPEED) * size, rng.uniform(*ANGULAR_SPEED), rng.uniform(*GROWTH)
    x, y = rng.uniform(0, frame_width(size)), rng.uniform(0, size)
    angle = rng.uniform(0, 2 * np.pi)
    low, high = np.log(np.asarray(RADIUS) * size)
    middle = rng.uniform(low + growth / 2, high - growth / 2)
    still_size = rng.uniform(-0.5, 0.5)

    def along(quantity: Quantity, step: float) -> Floats:
        return motion.sign * step * progress if motion.quantity == quantity else np.zeros_like(progress)

    last = max(len(progress) - 1, 1)
    if motion.quantity == "radius":
        log_radius = middle + motion.sign * growth * (progress / last - 0.5)
    else:
        log_radius = np.full_like(progress, middle + growth * still_size)
    return Track(x + along("x", speed), y + along("y", speed), np.exp(log_radius), angle + along("angle", spin))


def _make_look(rng: np.random.Generator) -> Look:
    outline: Outline = get_args(Outline)[rng.integers(3)]
    pattern: Pattern = get_args(Pattern)[rng.integers(4)]
    corners, frequency, stretch = int(rng.integers(3, 7)), rng.uniform(1.0, 1.8), rng.uniform(*STRETCH)
    # A main color that is brighter than the background, and a second one for the pattern.
    main = rng.uniform(170, 255, 3)
    second = main + PATTERN * (rng.uniform(0, 255, 3) - main)
    return Look(outline, corners, pattern, frequency, stretch, np.stack([main, second]).astype(np.float32))


def _make_background(rng: np.random.Generator, size: int) -> Floats:
    """Draw a dark base color plus 12 waves of random direction and length: [size, frame_width(size), 3]."""
    row, column = np.mgrid[0:size, 0 : frame_width(size)] / size
    picture = np.tile(rng.uniform(35, 105, 3), (*row.shape, 1))
    for _ in range(12):
        cycles = rng.uniform(1, 9)
        direction, phase = rng.uniform(0, 2 * np.pi, 2)
        wave = np.sin(2 * np.pi * cycles * (np.cos(direction) * column + np.sin(direction) * row) + phase)
        picture += wave[..., None] * rng.uniform(-WAVES, WAVES, 3)
    return picture


def render(scene: Scene, rng: np.random.Generator, *, noise: float = NOISE) -> NDArray[np.uint8]:
    """Render a scene: uint8 [T, H, W, 3]; `rng` draws camera noise of `noise` gray levels standard deviation."""
    frames = np.repeat(scene.background[None].astype(np.float32), len(scene.sprites[0][0].x), axis=0)
    for track, look in scene.sprites:
        _draw(frames, track, look)
    frames += rng.standard_normal(frames.shape, dtype=np.float32) * np.float32(noise)
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _draw(frames: Floats, track: Track, look: Look) -> None:
    """Draw a sprite onto the frames [T, H, W, 3], in place, with edges antialiased over one pixel.

    Only the square around the sprite is computed, about a tenth of the frame.
    """
    height, width = frames.shape[1:3]
    reach = int(np.ceil(track.radius.max() * look.stretch**0.5)) + 1
    steps = np.arange(-reach, reach + 1)
    columns, rows = (np.rint(center).astype(np.int64)[:, None] + steps for center in (track.x, track.y))
    dx = (columns - track.x[:, None]).astype(np.float32)[:, None, :]
    dy = (rows - track.y[:, None]).astype(np.float32)[:, :, None]
    radius, angle = (values.astype(np.float32)[:, None, None] for values in (track.radius, track.angle))
    long, short = radius * look.stretch**0.5, radius / look.stretch**0.5
    right = (np.cos(angle) * dx + np.sin(angle) * dy) / long
    down = (-np.sin(angle) * dx + np.cos(angle) * dy) / short
    polar = np.arctan2(down, right)
    edge = (_outline_radius(look, polar) - np.hypot(right, down)) * radius
    alpha = np.clip(edge + 0.5, 0, 1)[..., None]
    mix = _pattern(look, right, down, polar)[..., None]
    color = look.colors[0] * (1 - mix) + look.colors[1] * mix
    where = (np.arange(len(frames))[:, None, None], rows[:, :, None] % height, columns[:, None, :] % width)
    under = frames[where]
    frames[where] = under + alpha * (color - under)


def _outline_radius(look: Look, polar: Floats) -> Floats | float:
    """Return the outline's distance from the center at each polar angle, as a fraction of the radius."""
    if look.outline == "disc":
        return 1.0
    if look.outline == "star":
        return 0.75 + 0.25 * np.cos(look.corners * polar)
    sector = 2 * np.pi / look.corners
    return np.float32(np.cos(sector / 2)) / np.cos(polar % np.float32(sector) - np.float32(sector / 2))


def _pattern(look: Look, right: Floats, down: Floats, polar: Floats) -> Floats:
    """Return the fraction of the second color, 0 to 1; every pattern changes when it is rotated."""
    across, along = (np.sin(np.pi * look.frequency * axis + 0.7) for axis in (right, down))
    wave = {
        "stripes": across,
        "checks": across * along * 2,
        "halves": right,
        "wedges": np.sin(2 * polar) + 0.5 * np.sin(polar),
    }[look.pattern]
    return 0.5 + 0.5 * np.tanh(4 * wave)
