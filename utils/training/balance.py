"""Class imbalance: weights of the classes in the loss, and class-balanced sampling."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# A class's fraction of an epoch is proportional to its number of videos to this power.
POWERS = {"none": 1.0, "sqrt": 0.5, "balanced": 0.0}

Order = Callable[[np.random.Generator], NDArray[np.int64]]


def class_weights(counts: NDArray[np.floating], rule: str) -> NDArray[np.float64]:
    """Return the loss weight of each class, float64 [classes], of mean 1 over all clips; 1 for a class without clips.

    Args:
        counts: Clips of each class in an epoch, [classes].
        rule: A key of POWERS.
    """
    present = counts > 0
    weights = np.ones(len(counts))
    weights[present] = counts[present] ** (POWERS[rule] - 1)
    weights[present] *= counts.sum() / (weights * counts).sum()
    return weights


def make_order(labels: NDArray[np.integer], rule: str) -> Order:
    """Return a function that draws the order of an epoch's videos, int64 [N], from a generator.

    Each class gets its fraction of the N draws, rounded up or down at random. Its videos are drawn in consecutive
    random permutations, so none repeats before all others of its class have been drawn.

    Args:
        labels: Class of each video, [N].
        rule: A key of POWERS; `none` draws a permutation.
    """
    total = len(labels)
    if rule == "none":
        return lambda rng: rng.permutation(total)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    parts = np.array([len(videos) for videos in members], dtype=np.float64) ** POWERS[rule]
    ends = np.cumsum(parts) / parts.sum() * total  # position among the draws at which each class ends

    def draw(rng: np.random.Generator) -> NDArray[np.int64]:
        places = np.floor(ends + rng.random()).astype(np.int64)
        places[-1] = total
        counts = np.diff(places, prepend=0)
        drawn = [
            np.concatenate([rng.permutation(videos) for _ in range(-(-count // len(videos)))])[:count]
            for videos, count in zip(members, counts.tolist(), strict=True)
            if count
        ]
        return rng.permutation(np.concatenate(drawn))

    return draw


def count_earlier(order: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return for each position of a sequence how often its value occurs earlier, int64 [N]."""
    by_value = np.argsort(order, kind="stable")
    starts = np.flatnonzero(np.diff(order[by_value], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    earlier = np.empty(len(order), dtype=np.int64)
    earlier[by_value] = np.arange(len(order)) - np.repeat(starts, lengths)
    return earlier
