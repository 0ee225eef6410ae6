"""Ten gestures: a hand with a stretched finger draws a shape into the air, before a cluttered scene that moves too.

What tells the classes apart is the finger's course over the whole video: two classes are each other's time reversal,
every scene shows all of them, and place, size, slant, speed, pauses and the hand's look are drawn for each video.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from dataset.synthetic.clutter import HEIGHT, WIDTH, Backdrop, Timing

_SIZE = (90, 160)  # half the extent of a shape, pixels
_SLANT = np.radians(14)
_PAUSE = 0.18  # longest still part before and after, as a fraction of the video


def _circle(share: np.ndarray) -> np.ndarray:
    """Clockwise on the screen, whose y points down."""
    return np.stack([np.cos(2 * np.pi * share), np.sin(2 * np.pi * share)], axis=-1)


def _eight(share: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(4 * np.pi * share) * 0.6, -np.cos(2 * np.pi * share)], axis=-1)


def _spiral(share: np.ndarray) -> np.ndarray:
    return _circle(2.5 * share) * (1 - 0.9 * share)[:, None]


def _corners(*places: tuple[float, float]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the curve through some corners in straight lines, at an even speed."""
    corners = np.asarray(places)
    reached = np.concatenate([[0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])

    def curve(share: np.ndarray) -> np.ndarray:
        at = share * reached[-1]
        return np.stack([np.interp(at, reached, corners[:, axis]) for axis in (0, 1)], axis=-1)

    return curve


# Curves from shares 0..1 of the way, [T], to places within -1..1, [T, 2]: x to the right, y down.
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "circle clockwise": _circle,
    "circle counter-clockwise": lambda share: _circle(-share),
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
    """Draw where the finger's tip is: float [T, 2] in pixels (x, y)."""
    begin, end = rng.uniform(0, _PAUSE), 1 - rng.uniform(0, _PAUSE)
    time = np.clip((np.linspace(0, 1, num_frames) - begin) / (end - begin), 0, 1)
    share = time + rng.uniform(-0.12, 0.12) * np.sin(2 * np.pi * time) / 2  # a little faster here, slower there
    points = shape(share) * rng.uniform(*_SIZE) * rng.uniform(0.85, 1.15, 2)
    angle = rng.uniform(-_SLANT, _SLANT)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    jitter = rng.standard_normal((num_frames, 2)) * 2
    middle = rng.uniform((WIDTH * 0.35, HEIGHT * 0.35), (WIDTH * 0.65, HEIGHT * 0.55))
    return points @ turn + jitter + middle


def film(name: str, backdrop: Backdrop, rng: np.random.Generator, *, timing: Timing) -> Iterator[np.ndarray]:
    """Give the frames of a video of a class, uint8 [480, 640, 3] each."""
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
