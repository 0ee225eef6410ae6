"""How many videos each class has, in words: what is rare shows before anything is trained on it."""

from collections.abc import Sequence

import numpy as np

from utils.text import one_line

_RARE = 1 / 3  # of the median: a class with fewer videos is called rare
_NAMED = 10


def describe_counts(labels: Sequence[int] | np.ndarray, names: Sequence[str]) -> str:
    """Return in a line how many videos each class has, and which are rare or absent.

    Args:
        labels: Class of each video.
        names: What the classes are called, by number.
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(names))
    low, median, high = int(counts.min()), float(np.median(counts)), int(counts.max())
    spread = f"{low} of each" if low == high else f"{low} to {high} of each, median {median:g}"
    rare = [label for label in np.argsort(counts, kind="stable").tolist() if counts[label] < _RARE * median]
    named = ", ".join(f"{one_line(names[label])} {counts[label]}" for label in rare[:_NAMED])
    more = ", ..." if len(rare) > _NAMED else ""
    return f"{len(names)} classes, {spread}" + (f"; rare: {named}{more}" if rare else "")
