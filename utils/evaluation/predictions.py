"""What a network says of videos: as text, JSON and CSV. No torch here."""

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
    """One class and its probability."""

    label: int
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Window:
    """A clip of a video, and the piece of the video that it speaks for: the pieces of all follow one another.

    Attributes:
        begin: Of the piece, seconds.
        end: Of the piece, seconds.
        first_frame: Of the piece.
        scores: Probabilities of all classes, float [classes].
        seen: First and last frame that the network was shown.
        features: What the classifiers saw, float [channels]; empty unless asked for.
    """

    begin: float
    end: float
    first_frame: int
    scores: NDArray[np.floating]
    seen: tuple[int, int] = (0, 0)
    features: NDArray[np.floating] | Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """Windows one after the other with the same best class; its score is the mean of theirs. Times are seconds."""

    begin: float
    end: float
    guess: Guess
    num_windows: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is known of one video.

    Attributes:
        video: Its path.
        num_frames: That it has.
        seconds: That it takes.
        guesses: The best classes, the best first; none where the video could not be read.
        windows: The same over time, where that was asked for.
        error: Why the video could not be read, or something of it not be written.
    """

    video: str
    num_frames: int = 0
    seconds: float = 0.0
    guesses: tuple[Guess, ...] = ()
    windows: tuple[Window, ...] = ()
    error: str = ""


def best_guesses(scores: NDArray[np.floating], names: Sequence[str], *, top_k: int) -> tuple[Guess, ...]:
    """Return the classes with the highest scores; of equal ones the lower class number comes first."""
    order = np.argsort(-scores, kind="stable")[:top_k]
    return tuple(Guess(int(label), names[label], float(scores[label])) for label in order)


def merge_windows(windows: Iterable[Window], names: Sequence[str]) -> tuple[Segment, ...]:
    """Merge neighbouring windows that have the same best class."""
    segments = []
    for label, group in itertools.groupby(windows, key=lambda window: int(np.argmax(window.scores))):
        same = list(group)
        score = float(np.mean([window.scores[label] for window in same]))
        segments.append(Segment(same[0].begin, same[-1].end, Guess(label, names[label], score), len(same)))
    return tuple(segments)


def describe(prediction: Prediction) -> str:
    """Return a video's classes as lines."""
    lines = [f"{one_line(prediction.video)} ({prediction.num_frames} frames, {prediction.seconds:.1f} s)"]
    lines += [f"  {100 * guess.score:6.2f} %  {one_line(guess.name)}" for guess in prediction.guesses]
    return "\n".join(lines)


def as_json(prediction: Prediction, names: Sequence[str], *, top_k: int) -> dict[str, object]:
    """Return all that is known of a video as the object that --json writes."""
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
    """Return a row of GUESS_COLUMNS for each rank; a video that could not be read has one, with the cause."""
    video, error = prediction.video, prediction.error
    return [
        (video, rank, guess.label, guess.name, f"{guess.score:.6f}", error)
        for rank, guess in enumerate(prediction.guesses, start=1)
    ] or [(video, "", "", "", "", error)]


def segment_rows(prediction: Prediction, names: Sequence[str]) -> list[tuple[object, ...]]:
    """Return a row of SEGMENT_COLUMNS for each segment; a video that could not be read has one, with the cause."""
    video, error = prediction.video, prediction.error
    return [
        (video, f"{one.begin:.3f}", f"{one.end:.3f}", one.guess.label, one.guess.name, f"{one.guess.score:.6f}",
         one.num_windows, error)
        for one in merge_windows(prediction.windows, names)
    ] or [(video, "", "", "", "", "", "", error)]  # fmt: skip


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
