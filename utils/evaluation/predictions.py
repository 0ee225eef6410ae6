"""What a network says of videos: as text, JSON and CSV. No torch here."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.files import write_text_atomically


@dataclass(frozen=True, slots=True)
class Guess:
    """One class and its probability."""

    label: int
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a video, in seconds and frames, and the probabilities of all classes in it, float [classes]."""

    begin: float
    end: float
    first_frame: int
    scores: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is known of one video.

    Attributes:
        video: its path.
        num_frames: that it has.
        seconds: that it takes, None where the file has no times.
        guesses: the best classes, the best first.
        windows: the same over time, where that was asked for and the video is long enough.
        error: why the video could not be read; all else is empty then.
    """

    video: str
    num_frames: int = 0
    seconds: float | None = None
    guesses: tuple[Guess, ...] = ()
    windows: tuple[Window, ...] = field(default=())
    error: str = ""


def best_guesses(scores: NDArray[np.floating], names: Sequence[str], *, top_k: int) -> tuple[Guess, ...]:
    """Return the classes with the highest scores; of equal ones the lower class number comes first."""
    order = np.argsort(-scores, kind="stable")[:top_k]
    return tuple(Guess(int(label), names[label], float(scores[label])) for label in order)


def describe(prediction: Prediction) -> str:
    """Return a video's classes as lines."""
    seconds = "" if prediction.seconds is None else f", {prediction.seconds:.1f} s"
    lines = [f"{prediction.video} ({prediction.num_frames} frames{seconds})"]
    lines += [f"  {100 * guess.score:6.2f} %  {guess.name}" for guess in prediction.guesses]
    return "\n".join(lines)


def write_json(path: Path, predictions: Sequence[Prediction], names: Sequence[str], *, top_k: int) -> None:
    """Write all that is known as a JSON list, an object for each video."""
    content = [_as_object(prediction, names, top_k=top_k) for prediction in predictions]
    write_text_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _as_object(prediction: Prediction, names: Sequence[str], *, top_k: int) -> dict[str, object]:
    if prediction.error:
        return {"video": prediction.video, "error": prediction.error}
    return {
        "video": prediction.video,
        "num_frames": prediction.num_frames,
        "seconds": prediction.seconds,
        "predictions": _as_list(prediction.guesses),
        "windows": [
            {
                "begin": window.begin,
                "end": window.end,
                "predictions": _as_list(best_guesses(window.scores, names, top_k=top_k)),
            }
            for window in prediction.windows
        ],
    }


def _as_list(guesses: Sequence[Guess]) -> list[dict[str, object]]:
    return [{"label": guess.label, "class": guess.name, "score": guess.score} for guess in guesses]


def write_csv(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write a table with a row for each video and rank; a video that could not be read has one row with the cause."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("video", "rank", "label", "class", "score", "error"))
    for prediction in predictions:
        if prediction.error:
            table.writerow((prediction.video, "", "", "", "", prediction.error))
        for rank, guess in enumerate(prediction.guesses, start=1):
            table.writerow((prediction.video, rank, guess.label, guess.name, f"{guess.score:.6f}", ""))
    write_text_atomically(path, text.getvalue())
