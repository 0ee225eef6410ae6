"""Accuracies from scores, by way of one number per prediction: the rank of the true class.

The rank is how many classes come before the true one when the classes are put in order of falling score. A prediction
counts for top-k when its rank is below k, and below classes - 1: no accuracy is 100% by definition. Equal scores are
ordered by class number, the lower first, as `argmax` does, so the predicted class is always the one of rank 0 and a tie
counts the same whatever made the scores.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError
from utils.parts import METRICS, find_part

TOP_KS = (1, 3, 5)


class MetricsError(UserError):
    """Scores that no accuracy can be made of."""


@dataclass(frozen=True)
class ValidationScore:
    """Accuracy of one clip a video, in percent; `mean` is what a search compares states by."""

    top1: float
    top3: float
    top5: float
    mean: float
    videos: int
    missing: int


def counted_ranks(num_classes: int) -> dict[int, int]:
    """Return what top-1, top-3 and top-5 mean for this many classes: the ranks that count, at most classes - 1.

    The released search caps k so, too.
    """
    return {k: min(k, max(num_classes - 1, 1)) for k in TOP_KS}


def top_k_hits(ranks: NDArray[np.int64], num_classes: int) -> dict[int, int]:
    """How many predictions are right for top-1, top-3 and top-5: the one place that decides it."""
    return {k: int(np.count_nonzero(ranks < counted)) for k, counted in counted_ranks(num_classes).items()}


def top_k_accuracies(ranks: NDArray[np.int64], num_classes: int) -> dict[int, float]:
    """Fractions of predictions that are right for top-1, top-3 and top-5, nan when there is none."""
    return {k: hits / ranks.size if ranks.size else math.nan for k, hits in top_k_hits(ranks, num_classes).items()}


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the last axis of finite logits [..., classes], in their own type."""
    with np.errstate(over="ignore"):  # a difference of more than the type holds is a probability of 0
        powers = logits - logits.max(axis=-1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def label_ranks(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Ranks of the true classes, 0 for the best.

    Args:
        scores: [..., classes], finite.
        labels: Class numbers, of any shape that broadcasts against scores.shape[:-1].

    Returns:
        int64 [...]: the number of classes with a higher score, or the same score and a lower class number.

    Raises:
        MetricsError: A score is NaN or infinite: nothing is higher than NaN, so its rank would be 0, a right answer.
    """
    if not np.isfinite(scores).all():
        raise MetricsError("scores that are NaN or infinite have no order; whose they are must be found before")
    labels = np.broadcast_to(labels, scores.shape[:-1])[..., None]
    own = np.take_along_axis(scores, labels, axis=-1)
    higher = np.count_nonzero(scores > own, axis=-1)
    tied_before = np.count_nonzero((scores == own) & (np.arange(scores.shape[-1]) < labels), axis=-1)
    return (higher + tied_before).astype(np.int64)


def max_top_k_ranks(clip_scores: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Ranks by the "max-top-k mean" of the paper's released code, for every k at once.

    For each class by itself the scores of a video's clips are sorted; its score is the mean of the k highest, so that a
    class may be judged by other clips than its neighbour. k = clips is the plain mean.

    Args:
        clip_scores: [videos, clips, classes], already averaged over crops; the released code's are logits.
        labels: [videos].

    Returns:
        int64 [videos, clips]; column k - 1 belongs to k.
    """
    falling = -np.sort(-clip_scores, axis=1)
    counts = np.arange(1, clip_scores.shape[1] + 1)[:, None]
    return label_ranks(np.cumsum(falling, axis=1) / counts, labels[:, None])


def confusion_matrix(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], num_classes: int
) -> NDArray[np.int64]:
    """Count the videos of each [true class, predicted class]."""
    cells = np.asarray(labels, dtype=np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_accuracies(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the fraction of each class's videos that are predicted right [classes], nan where it has none."""
    totals = confusion.sum(axis=1)
    return np.divide(np.diag(confusion), totals, out=np.full(len(confusion), np.nan), where=totals > 0)


def mean_class_accuracy(ranks: NDArray[np.int64], labels: NDArray[np.integer], num_classes: int) -> float:
    """Mean of the classes' top-1; classes without a video are left out.

    Args:
        ranks: Of the true classes, [videos].
        labels: The true classes, [videos].
        num_classes: Number of classes.
    """
    totals = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[ranks < 1], minlength=num_classes)
    return float(np.mean(hits[totals > 0] / totals[totals > 0]))


@dataclass(frozen=True)
class Metrics:
    """What `ViewMetrics` has counted. Accuracies are fractions of 1, keyed by k.

    Attributes:
        num_videos: Videos counted.
        video: By the mean of the probabilities of all views of a video.
        clip: Of one view by itself.
        best_k: Clips of the best row by top-1 of the released code's max-top-k mean, which is one of logits.
        max_top_k: That row.
        max_top_k_top1: Top-1 of all its rows; that of all clips is the mean of the logits of all views.
        further: utils.parts.METRICS by name, by `video`.
        confusion: int64 [true class, predicted class], by `video`.
    """

    num_videos: int
    video: dict[int, float]
    clip: dict[int, float]
    best_k: int
    max_top_k: dict[int, float]
    max_top_k_top1: tuple[float, ...]
    further: dict[str, float]
    confusion: NDArray[np.int64]


class ViewMetrics:
    """Counts over blocks of videos, so that the scores of a large list never have to be in memory together."""

    def __init__(self, num_classes: int) -> None:
        """Start with nothing counted, for scores of `num_classes` classes."""
        self._confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
        self._labels: list[NDArray[np.integer]] = []
        self._video_ranks: list[NDArray[np.int64]] = []
        self._max_top_k_ranks: list[NDArray[np.int64]] = []
        self._clip_hits = dict.fromkeys(TOP_KS, 0)
        self._num_views = 0

    def add(self, logits: NDArray[np.float32], labels: NDArray[np.integer]) -> NDArray[np.float64]:
        """Count a block: logits [videos, crops, clips, classes], labels [videos].

        Means are taken in float64 and over each video alone, so the block a video comes in changes nothing.

        Returns:
            The mean probabilities of the videos, float64 [videos, classes].

        Raises:
            MetricsError: A logit is NaN or infinite.
        """
        view_ranks = label_ranks(logits, labels[:, None, None])  # a view's probabilities are in the order of its logits
        self._num_views += view_ranks.size
        for k, hits in top_k_hits(view_ranks, len(self._confusion)).items():
            self._clip_hits[k] += hits
        mean = probabilities(logits).mean(axis=(1, 2), dtype=np.float64)
        self._labels.append(labels)
        self._video_ranks.append(label_ranks(mean, labels))
        self._confusion += confusion_matrix(labels, mean.argmax(axis=-1), len(self._confusion))
        self._max_top_k_ranks.append(max_top_k_ranks(logits.mean(axis=1, dtype=np.float64), labels))
        return mean

    def result(self) -> Metrics:
        """Return the accuracies of everything added; at least one video must have been."""
        video_ranks, labels = np.concatenate(self._video_ranks), np.concatenate(self._labels)
        by_k = np.concatenate(self._max_top_k_ranks)
        top1 = tuple(float(value) for value in np.mean(by_k < 1, axis=0))
        best_k = int(np.argmax(top1)) + 1
        num_classes = len(self._confusion)
        return Metrics(
            num_videos=len(video_ranks),
            video=top_k_accuracies(video_ranks, num_classes),
            clip={k: hits / self._num_views for k, hits in self._clip_hits.items()},
            best_k=best_k,
            max_top_k=top_k_accuracies(by_k[:, best_k - 1], num_classes),
            max_top_k_top1=top1,
            further={name: float(find_part(home)(video_ranks, labels, num_classes)) for name, home in METRICS.items()},
            confusion=self._confusion.copy(),
        )
