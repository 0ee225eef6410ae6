"""Predictions for videos, and their form as text, JSON and CSV. No torch."""

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.text import one_line

GUESS_COLUMNS = ("video", "rank", "label", "class", "score", "error")
SEGMENT_COLUMNS = ("video", "begin", "end", "label", "class", "score", "windows", "error")


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and its probability."""

    label: int
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Window:
    """The scores of a clip, and the interval of the video they stand for; intervals are consecutive.

    Attributes:
        begin: Start of the interval, seconds.
        end: End of the interval, seconds.
        first_frame: First frame of the interval.
        scores: Probabilities of all classes, float [classes].
        seen: First and last frame of the clip.
        features: Input of the classifiers, float [channels]; empty unless requested.
    """

    begin: float
    end: float
    first_frame: int
    scores: NDArray[np.floating]
    seen: tuple[int, int] = (0, 0)
    features: NDArray[np.floating] | Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive windows with the same best class and their mean score; begin and end are in seconds."""

    begin: float
    end: float
    guess: Guess
    num_windows: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one video.

    Attributes:
        video: Path of the video.
        num_frames: Number of frames.
        seconds: Duration, seconds.
        guesses: Best classes in decreasing order; none if the video could not be read.
        windows: Scores over time, if requested.
        error: Why the video could not be read or an output not be written; empty if neither.
    """

    video: str
    num_frames: int = 0
    seconds: float = 0.0
    guesses: tuple[Guess, ...] = ()
    windows: tuple[Window, ...] = ()
    error: str = ""


def best_guesses(scores: NDArray[np.floating], names: Sequence[str], *, top_k: int) -> tuple[Guess, ...]:
    """Return the `top_k` classes with the highest scores; ties are in the order of class numbers."""
    order = np.argsort(-scores, kind="stable")[:top_k]
    return tuple(Guess(int(label), names[label], float(scores[label])) for label in order)


def merge_windows(windows: Iterable[Window], names: Sequence[str]) -> tuple[Segment, ...]:
    """Merge consecutive windows that have the same best class."""
    segments = []
    for label, group in itertools.groupby(windows, key=lambda window: int(np.argmax(window.scores))):
        same = list(group)
        score = float(np.mean([window.scores[label] for window in same]))
        segments.append(Segment(same[0].begin, same[-1].end, Guess(label, names[label], score), len(same)))
    return tuple(segments)


def describe(prediction: Prediction) -> str:
    """Return a prediction as lines of text."""
    lines = [f"{one_line(prediction.video)} ({prediction.num_frames} frames, {prediction.seconds:.1f} s)"]
    lines += [f"  {100 * guess.score:6.2f} %  {one_line(guess.name)}" for guess in prediction.guesses]
    return "\n".join(lines)


def as_json(prediction: Prediction, names: Sequence[str], *, top_k: int) -> dict[str, object]:
    """Return a prediction as the object that --json writes."""
    error = {"error": prediction.error} if prediction.error else {}
    if not prediction.guesses:
        return {"video": prediction.video, **error}
    windows = [
        {
            "begin": window.begin,
            "end": window.end,
            "predictions": _as_list(best_guesses(window.scores, names, top_k=top_k)),
        }
        for window in prediction.windows
    ]
    return {
        "video": prediction.video,
        "num_frames": prediction.num_frames,
        "seconds": prediction.seconds,
        "predictions": _as_list(prediction.guesses),
        "windows": windows if len(windows) > 1 else [],
        **error,
    }


def _as_list(guesses: Sequence[Guess]) -> list[dict[str, object]]:
    return [{"label": guess.label, "class": guess.name, "score": guess.score} for guess in guesses]


def guess_rows(prediction: Prediction) -> list[tuple[object, ...]]:
    """Return a row of GUESS_COLUMNS per rank; a video that could not be read has one row with the cause."""
    video, error = prediction.video, prediction.error
    return [
        (video, rank, guess.label, guess.name, f"{guess.score:.6f}", error)
        for rank, guess in enumerate(prediction.guesses, start=1)
    ] or [(video, "", "", "", "", error)]


def segment_rows(prediction: Prediction, names: Sequence[str]) -> list[tuple[object, ...]]:
    """Return a row of SEGMENT_COLUMNS per segment; a video that could not be read has one row with the cause."""
    video, error = prediction.video, prediction.error
    return [
        (video, f"{one.begin:.3f}", f"{one.end:.3f}", one.guess.label, one.guess.name, f"{one.guess.score:.6f}",
         one.num_windows, error)
        for one in merge_windows(prediction.windows, names)
    ] or [(video, "", "", "", "", "", "", error)]  # fmt: skip


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
