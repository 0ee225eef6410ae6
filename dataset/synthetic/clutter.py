"""Backgrounds of the two example sets: cluttered scenes of 640 x 480 with camera motion and moving distractors.

A scene is shared by several videos, but only within a split: no test video has a background of the training set.
Distractors are independent of the class.
"""

from dataclasses import dataclass

import cv2
import numpy as np

HEIGHT, WIDTH = 480, 640
RATES = (10, 12, 15, 20, 25, 30)  # frame rates, frames per second
SECONDS = (2.0, 6.0)  # shortest and longest video
_MARGIN = 12  # largest shift of the camera to each side, as if handheld, pixels
_THINGS = (15, 40)  # number of still objects
_PASSERS = (1, 2)  # number of moving distractors
_NOISE = 5.0  # standard deviation of the camera noise, gray levels
_SHIFTS = 64  # number of offsets, along each axis, at which one noise image is added to the frames

Color = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Timing:
    """Length of a video, frames, and its frame rate, frames per second."""

    num_frames: int
    rate: int


def draw_timing(rng: np.random.Generator) -> Timing:
    """Draw the frame rate and the length of a video."""
    rate = int(rng.choice(RATES))
    return Timing(round(rng.uniform(*SECONDS) * rate), rate)


def draw_color(rng: np.random.Generator) -> Color:
    """Draw an RGB color, 0 to 255."""
    gray, tint = rng.uniform(30, 225), rng.uniform(-55, 55, 3)
    red, green, blue = np.clip(gray + tint, 0, 255)
    return float(red), float(green), float(blue)


class Backdrop:
    """The moving background of one video."""

    def __init__(self, scene: np.random.Generator, rng: np.random.Generator, *, timing: Timing) -> None:
        """Draw the still content of a scene, and the camera motion, distractors and noise of one video.

        Args:
            scene: Generator of the scene, the same for all its videos.
            rng: Generator of the video.
            timing: Length and frame rate of the video.
        """
        self._room = _draw_room(scene)
        seconds = np.arange(timing.num_frames) / timing.rate
        self._corner = _MARGIN * (1 + _sway(rng, seconds))  # [T, 2]: x, y of the view's top left corner
        self._light = 1 + 0.1 * _sway(rng, seconds)[:, 0]
        count = rng.integers(*_PASSERS, endpoint=True)
        self._passers = [_Passer(rng, seconds) for _ in range(count)]
        noise = rng.standard_normal((HEIGHT + _SHIFTS, WIDTH + _SHIFTS, 3), dtype=np.float32) * np.float32(_NOISE)
        self._noise = np.rint(noise).clip(-128, 127).astype(np.int8)
        self._grain = rng.integers(0, _SHIFTS, (timing.num_frames, 2))

    def show(self, number: int) -> np.ndarray:
        """Return the background of frame `number` as a new image, uint8 [480, 640, 3], to be drawn on."""
        column, row = np.rint(self._corner[number]).astype(int)
        picture = self._room[row : row + HEIGHT, column : column + WIDTH].copy()
        for passer in self._passers:
            passer.draw(picture, number)
        return picture

    def finish(self, picture: np.ndarray, number: int) -> np.ndarray:
        """Apply the brightness and the camera noise of frame `number`."""
        row, column = self._grain[number]
        noise = self._noise[row : row + HEIGHT, column : column + WIDTH]
        lit = cv2.convertScaleAbs(picture, alpha=float(self._light[number]))
        return cv2.add(lit, noise, dtype=cv2.CV_8U)


class _Passer:
    """A distractor that crosses a scene in a straight line, or swings in place."""

    def __init__(self, rng: np.random.Generator, seconds: np.ndarray) -> None:
        begin, end = rng.uniform((0, 0), (WIDTH, HEIGHT), (2, 2))
        progress = (seconds / seconds[-1])[:, None]
        swing = 40 * _sway(rng, seconds)
        self._places = begin + (end - begin) * progress * rng.integers(0, 2) + swing
        self._color, self._size = draw_color(rng), rng.uniform(8, 25)
        self._is_round = rng.random() < 0.5

    def draw(self, picture: np.ndarray, number: int) -> None:
        place = self._places[number]
        if self._is_round:
            cv2.circle(picture, _whole(place), round(self._size), self._color, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, _whole(place - self._size), _whole(place + self._size), self._color, -1)


def _whole(place: np.ndarray) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def _sway(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """Return two slow random oscillations within -1..1, float [T, 2]."""
    cycles, phase = rng.uniform(0.05, 0.5, (2, 2)), rng.uniform(0, 2 * np.pi, (2, 2))
    return np.sin(2 * np.pi * seconds[:, None, None] * cycles + phase).mean(axis=1)


def _draw_room(rng: np.random.Generator) -> np.ndarray:
    """Draw the still content of a scene: uint8 [480 + 2 margins, 640 + 2 margins, 3]."""
    height, width = HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN
    coarse = (rng.uniform(40, 200, (5, 6, 1)) + rng.uniform(-40, 40, (5, 6, 3))).astype(np.float32)
    room = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    for _ in range(rng.integers(*_THINGS)):
        place, size = rng.uniform((0, 0), (width, height)), rng.uniform(6, 90, 2)
        if rng.random() < 0.4:
            axes = _whole(size)
            cv2.ellipse(room, _whole(place), axes, rng.uniform(0, 180), 0, 360, draw_color(rng), -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints((tuple(place), tuple(2 * size), rng.uniform(0, 180)))
            cv2.fillConvexPoly(room, np.rint(box).astype(np.int32), draw_color(rng), cv2.LINE_AA)
    return room
