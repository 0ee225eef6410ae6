"""The best classes of every evaluated video: predictions.csv, and the worst errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils.evaluation.predictions import csv_text

_TOP = 5


@dataclass(frozen=True)
class TopClasses:
    """The five best classes of N videos; ties are in the order of class numbers.

    Attributes:
        videos: Indices of the videos in the list, int64 [N].
        labels: True classes, int64 [N].
        guesses: Best classes in decreasing order, int64 [N, 5], or [N, classes] if there are fewer.
        scores: Probabilities of the guesses, means over all views, float64 [N, 5].
        label_scores: Probability of the true class, float64 [N].
    """

    videos: NDArray[np.int64]
    labels: NDArray[np.int64]
    guesses: NDArray[np.int64]
    scores: NDArray[np.float64]
    label_scores: NDArray[np.float64]

    def worst_errors(self, count: int) -> list["Misclassification"]:
        """Return up to `count` errors with the largest margin over the true class, the worst first."""
        wrong = np.flatnonzero(self.guesses[:, 0] != self.labels)
        order = np.argsort(self.label_scores[wrong] - self.scores[wrong, 0], kind="stable")
        columns = (self.videos, self.labels, self.guesses[:, 0], self.label_scores, self.scores[:, 0])
        return [Misclassification(*(column[place].item() for column in columns)) for place in wrong[order][:count]]


class Misclassification(NamedTuple):
    """A misclassified video: its index, its true and its predicted class, and their probabilities."""

    video: int
    label: int
    guess: int
    label_score: float
    guess_score: float


def find_top_classes(videos: NDArray[np.int64], labels: NDArray[np.integer], scores: NDArray[np.float64]) -> TopClasses:
    """Return the best classes of a block of videos.

    Args:
        videos: Indices of the videos in the list, int64 [N].
        labels: True classes, [N].
        scores: Mean probabilities, float64 [N, classes].
    """
    rows, rest = np.arange(len(scores)), scores.copy()
    guesses = np.empty((len(scores), min(_TOP, scores.shape[1])), dtype=np.int64)
    for rank in range(guesses.shape[1]):  # much cheaper than sorting hundreds of classes, with the ties of argmax
        guesses[:, rank] = rest.argmax(axis=1)
        rest[rows, guesses[:, rank]] = -1.0
    label_scores = scores[rows, labels]
    return TopClasses(
        videos, labels.astype(np.int64), guesses, np.take_along_axis(scores, guesses, axis=1), label_scores
    )


def join_top_classes(blocks: Sequence[TopClasses]) -> TopClasses:
    """Concatenate the top_classes of one or more blocks."""
    return TopClasses(
        *(np.concatenate([getattr(block, field.name) for block in blocks]) for field in fields(TopClasses))
    )


def render_predictions(top: TopClasses, *, path_of: Callable[[int], str], class_names: Sequence[str]) -> str:
    """Return the text of predictions.csv: one row per scored video with its true class and its best five.

    Args:
        top: Best classes of the videos.
        path_of: Returns the path of a video, given its index.
        class_names: Class names in the order of the logits.
    """
    ranks = range(1, top.guesses.shape[1] + 1)
    columns = (name for rank in ranks for name in (f"guess_{rank}", f"score_{rank}"))
    rows = [("video", "class", "right", *columns, "score_of_class")]
    for place, video in enumerate(top.videos):
        guesses = zip(top.guesses[place], top.scores[place], strict=True)
        cells = (cell for guess, score in guesses for cell in (class_names[guess], f"{score:.6f}"))
        label = top.labels[place]
        right = "yes" if top.guesses[place, 0] == label else "no"
        rows.append((path_of(int(video)), class_names[label], right, *cells, f"{top.label_scores[place]:.6f}"))
    return csv_text(rows)
