"""Classes of unequal size: what a clip of each weighs in the loss, or how many of its videos make an epoch."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Class c gets a part of an epoch in proportion to its number of videos to this power.
POWERS = {"none": 1.0, "sqrt": 0.5, "balanced": 0.0}

Order = Callable[[np.random.Generator], NDArray[np.int64]]


def class_weights(counts: NDArray[np.floating], rule: str) -> NDArray[np.float64]:
    """Return the weight of a clip of each class, float64 [classes], of mean 1 over all clips; 1 where there is none.

    Args:
        counts: Clips of each class in an epoch.
        rule: One of POWERS.
    """
    present = counts > 0
    weights = np.ones(len(counts))
    weights[present] = counts[present] ** (POWERS[rule] - 1)
    weights[present] *= counts.sum() / (weights * counts).sum()
    return weights


def make_order(labels: NDArray[np.integer], rule: str) -> Order:
    """Return what draws the videos of an epoch in their order, int64 [N], for a list with these labels [N].

    A class has its part of the N draws, rounded up or down at random. Its videos come in one random order after the
    other, so none comes again before all of its class have.

    Args:
        labels: Class of each video.
        rule: One of POWERS; `none` gives a permutation.
    """
    total = len(labels)
    if rule == "none":
        return lambda rng: rng.permutation(total)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    parts = np.array([len(videos) for videos in members], dtype=np.float64) ** POWERS[rule]
    ends = np.cumsum(parts) / parts.sum() * total  # where the part of each class ends among the draws

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
    """Return for each place of a sequence how often its value has come before, int64 [N]."""
    by_value = np.argsort(order, kind="stable")
    starts = np.flatnonzero(np.diff(order[by_value], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    earlier = np.empty(len(order), dtype=np.int64)
    earlier[by_value] = np.arange(len(order)) - np.repeat(starts, lengths)
    return earlier
