"""Accuracies from scores, computed from one number per prediction: the rank of the true class.

The rank is the number of classes before the true one in the order of decreasing scores. A prediction counts for top-k
if its rank is below k and below classes - 1, so that no accuracy is 100% by definition. Ties are in the order of class
numbers, as in `argmax`, so the predicted class always has rank 0, and a tie does not depend on how scores were
computed.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError
from utils.parts import METRICS, find_part

TOP_KS = (1, 3, 5)


class MetricsError(UserError):
    """No accuracy can be computed from the scores."""


@dataclass(frozen=True)
class ValidationScore:
    """Accuracies of one clip per video, percent; `mean` of the three is the default metric of a search.

    Attributes:
        top1: Top-1 accuracy, percent.
        top3: Top-3 accuracy, percent, with k capped by `counted_ranks`.
        top5: Top-5 accuracy, percent, with k capped by `counted_ranks`.
        mean: Mean of the three, percent.
        videos: Scored videos.
        missing: Unreadable videos.
    """

    top1: float
    top3: float
    top5: float
    mean: float
    videos: int
    missing: int


def counted_ranks(num_classes: int) -> dict[int, int]:
    """Return the effective k of top-1, top-3 and top-5: at most classes - 1, as in the released search."""
    return {k: min(k, max(num_classes - 1, 1)) for k in TOP_KS}


def top_k_hits(ranks: NDArray[np.int64], num_classes: int) -> dict[int, int]:
    """Return the number of correct predictions for top-1, top-3 and top-5."""
    return {k: int(np.count_nonzero(ranks < counted)) for k, counted in counted_ranks(num_classes).items()}


def top_k_accuracies(ranks: NDArray[np.int64], num_classes: int) -> dict[int, float]:
    """Return the fractions of correct predictions for top-1, top-3 and top-5; nan if there are no predictions."""
    return {k: hits / ranks.size if ranks.size else math.nan for k, hits in top_k_hits(ranks, num_classes).items()}


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis of finite logits [..., classes], in their own type."""
    with np.errstate(over="ignore"):  # a difference that overflows is a probability of 0
        powers = logits - logits.max(axis=-1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def label_ranks(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the ranks of the true classes, 0 for the best.

    Args:
        scores: Finite scores, [..., classes].
        labels: True classes, of any shape that broadcasts against scores.shape[:-1].

    Returns:
        int64 [...], the number of classes with a higher score, or the same score and a lower class number.

    Raises:
        MetricsError: A score is NaN or infinite. No score is higher than NaN, so its rank would be 0, a correct
            prediction.
    """
    if not np.isfinite(scores).all():
        raise MetricsError("NaN or infinite scores have no order; remove the videos that have them first")
    labels = np.broadcast_to(labels, scores.shape[:-1])[..., None]
    own = np.take_along_axis(scores, labels, axis=-1)
    higher = np.count_nonzero(scores > own, axis=-1)
    tied_before = np.count_nonzero((scores == own) & (np.arange(scores.shape[-1]) < labels), axis=-1)
    return (higher + tied_before).astype(np.int64)


def max_top_k_ranks(clip_scores: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the ranks by the "max-top-k mean" of the paper's released code, for every k at once.

    The score of a class is the mean of its k highest clip scores, so different classes may use different clips. With
    k = clips it is the mean over all clips.

    Args:
        clip_scores: Scores averaged over crops, [videos, clips, classes]; logits in the released code.
        labels: True classes, [videos].

    Returns:
        int64 [videos, clips]; column k - 1 belongs to k.
    """
    falling = -np.sort(-clip_scores, axis=1)
    counts = np.arange(1, clip_scores.shape[1] + 1)[:, None]
    return label_ranks(np.cumsum(falling, axis=1) / counts, labels[:, None])


def confusion_matrix(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], num_classes: int
) -> NDArray[np.int64]:
    """Return the number of videos per [true class, predicted class], int64 [classes, classes]."""
    cells = np.asarray(labels, dtype=np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_accuracies(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the fraction of each class's videos predicted correctly, [classes]; nan for a class without videos."""
    totals = confusion.sum(axis=1)
    return np.divide(np.diag(confusion), totals, out=np.full(len(confusion), np.nan), where=totals > 0)


def mean_class_accuracy(ranks: NDArray[np.int64], labels: NDArray[np.integer], num_classes: int) -> float:
    """Return the mean of the classes' top-1 accuracies, without classes that have no videos.

    Args:
        ranks: Ranks of the true classes, [videos].
        labels: True classes, [videos].
        num_classes: Number of classes.
    """
    totals = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[ranks < 1], minlength=num_classes)
    return float(np.mean(hits[totals > 0] / totals[totals > 0]))


@dataclass(frozen=True)
class Metrics:
    """The result of `ViewMetrics`. Accuracies are fractions of 1, keyed by k of top-k.

    Attributes:
        num_videos: Videos counted.
        video: Accuracies by the mean of the probabilities over all views of a video.
        clip: Accuracies of single views.
        best_k: The k of the released code's max-top-k mean (of logits) with the best top-1.
        max_top_k: Accuracies by the max-top-k mean with that k.
        max_top_k_top1: Top-1 by the max-top-k mean for k = 1, 2, ...; the last is by the mean logits of all views.
        further: utils.parts.METRICS by name, by the scores of `video`.
        confusion: Videos by the scores of `video`, int64 [true class, predicted class].
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
    """Accumulate metrics over blocks of videos, so that the scores of a large list need not fit in memory."""

    def __init__(self, num_classes: int) -> None:
        """Start without videos, for scores of `num_classes` classes."""
        self._confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
        self._labels: list[NDArray[np.integer]] = []
        self._video_ranks: list[NDArray[np.int64]] = []
        self._max_top_k_ranks: list[NDArray[np.int64]] = []
        self._clip_hits = dict.fromkeys(TOP_KS, 0)
        self._num_views = 0

    def add(self, logits: NDArray[np.float32], labels: NDArray[np.integer]) -> NDArray[np.float64]:
        """Add a block of videos.

        Means are computed in float64 and for every video alone, so results do not depend on the blocks.

        Args:
            logits: Finite logits, float32 [videos, crops, clips, classes].
            labels: True classes, [videos].

        Returns:
            The mean probabilities of the videos, float64 [videos, classes].

        Raises:
            MetricsError: A logit is NaN or infinite.
        """
        view_ranks = label_ranks(logits, labels[:, None, None])  # softmax keeps the order within a view
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
        """Return the metrics of all videos added, at least one."""
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
