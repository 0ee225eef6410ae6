"""A one-line summary of class sizes that names rare classes before training starts."""

from collections.abc import Sequence

import numpy as np

from utils.text import one_line

_RARE = 1 / 3  # a class with fewer videos than this fraction of the median is called rare
_NAMED = 10  # rare classes named at most


def describe_counts(labels: Sequence[int] | np.ndarray, names: Sequence[str]) -> str:
    """Return one line with the range of class sizes and the names of rare or absent classes.

    Args:
        labels: Class index of each video.
        names: Class names, by index.
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=len(names))
    low, median, high = int(counts.min()), float(np.median(counts)), int(counts.max())
    spread = f"{low} of each" if low == high else f"{low} to {high} of each, median {median:g}"
    rare = [label for label in np.argsort(counts, kind="stable").tolist() if counts[label] < _RARE * median]
    named = ", ".join(f"{one_line(names[label])} {counts[label]}" for label in rare[:_NAMED])
    more = ", ..." if len(rare) > _NAMED else ""
    return f"{len(names)} classes, {spread}" + (f"; rare: {named}{more}" if rare else "")
