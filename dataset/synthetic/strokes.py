"""Ten gestures: a finger draws a shape into the air, in front of a cluttered, moving scene.

Only the trajectory of the finger over the whole video distinguishes the classes: some are each other's time reversal,
every scene shows all classes, and position, size, slant, speed, pauses and the hand's look are drawn for each video.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from dataset.synthetic.clutter import HEIGHT, WIDTH, Backdrop, Timing

_SIZE = (90, 160)  # half the extent of a shape, pixels
_SLANT = np.radians(14)
_PAUSE = 0.18  # longest pause at the beginning and at the end, as a fraction of the video


def _circle(progress: np.ndarray) -> np.ndarray:
    """Return a circle, clockwise on the screen, whose y axis points down."""
    return np.stack([np.cos(2 * np.pi * progress), np.sin(2 * np.pi * progress)], axis=-1)


def _eight(progress: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(4 * np.pi * progress) * 0.6, -np.cos(2 * np.pi * progress)], axis=-1)


def _spiral(progress: np.ndarray) -> np.ndarray:
    return _circle(2.5 * progress) * (1 - 0.9 * progress)[:, None]


def _corners(*places: tuple[float, float]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the polyline through some corners, at constant speed."""
    corners = np.asarray(places)
    reached = np.concatenate([[0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])

    def curve(progress: np.ndarray) -> np.ndarray:
        at = progress * reached[-1]
        return np.stack([np.interp(at, reached, corners[:, axis]) for axis in (0, 1)], axis=-1)

    return curve


# Curves that map progress 0..1, [T], to positions within -1..1, [T, 2]: x to the right, y down.
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "circle clockwise": _circle,
    "circle counter-clockwise": lambda progress: _circle(-progress),
    "cross": _corners((-1, -1), (1, 1), (1, -1), (-1, 1)),
    "eight": _eight,
    "line left": _corners((1.2, 0), (-1.2, 0)),
    "line right": _corners((-1.2, 0), (1.2, 0)),
    "spiral": _spiral,
    "square": _corners((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)),
    "triangle": _corners((0, -1), (1, 1), (-1, 1), (0, -1)),
    "zigzag": _corners((-1, -1), (-0.4, 1), (0.1, -1), (0.6, 1), (1, -1)),
}


def trace(rng: np.random.Generator, shape: Callable[[np.ndarray], np.ndarray], *, num_frames: int) -> np.ndarray:
    """Draw a random trajectory of the fingertip: float [T, 2], (x, y) in pixels."""
    begin, end = rng.uniform(0, _PAUSE), 1 - rng.uniform(0, _PAUSE)
    time = np.clip((np.linspace(0, 1, num_frames) - begin) / (end - begin), 0, 1)
    progress = time + rng.uniform(-0.12, 0.12) * np.sin(2 * np.pi * time) / 2  # uneven speed
    points = shape(progress) * rng.uniform(*_SIZE) * rng.uniform(0.85, 1.15, 2)
    angle = rng.uniform(-_SLANT, _SLANT)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    jitter = rng.standard_normal((num_frames, 2)) * 2
    middle = rng.uniform((WIDTH * 0.35, HEIGHT * 0.35), (WIDTH * 0.65, HEIGHT * 0.55))
    return points @ turn + jitter + middle


def render(name: str, backdrop: Backdrop, rng: np.random.Generator, *, timing: Timing) -> Iterator[np.ndarray]:
    """Yield the frames of a video of a class, uint8 [480, 640, 3] each."""
    tips = trace(rng, SHAPES[name], num_frames=timing.num_frames)
    skin = tuple(float(level) for level in np.array([205, 155, 125]) * rng.uniform(0.6, 1.2) + rng.uniform(-15, 15, 3))
    lean, length, width = rng.uniform(-0.6, 0.6), rng.uniform(45, 80), rng.uniform(10, 15)
    wrist = np.array([np.sin(lean), np.cos(lean)]) * length
    for number, tip in enumerate(tips):
        picture = backdrop.show(number)
        palm = tip + wrist
        ends = [tuple(int(v) for v in np.rint(place)) for place in (tip, palm, palm + 8 * wrist)]
        cv2.line(picture, ends[0], ends[1], skin, round(2 * width), cv2.LINE_AA)
        cv2.line(picture, ends[1], ends[2], skin, round(4 * width), cv2.LINE_AA)
        cv2.circle(picture, ends[1], round(2.6 * width), skin, -1, cv2.LINE_AA)
        yield backdrop.finish(picture, number)
