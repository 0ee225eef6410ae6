"""The one-line summary of class sizes."""

import numpy as np

from dataset.classes import describe_counts


def test_rare_and_absent_classes_are_named() -> None:
    labels = np.repeat([0, 1, 2, 3], [30, 9, 40, 0])
    words = describe_counts(labels, ["jump", "run", "walk", "fly\nhigh"])
    assert words == "4 classes, 0 to 40 of each, median 19.5; rare: fly\\nhigh 0"
    assert describe_counts([0, 1, 0, 1], ["jump", "run"]) == "2 classes, 2 of each"


def test_many_rare_classes_are_not_all_named() -> None:
    labels = [label for label in range(40) for _ in range(1 if label < 15 else 10)]
    words = describe_counts(labels, [f"c{label}" for label in range(40)])
    assert words.endswith("rare: c0 1, c1 1, c2 1, c3 1, c4 1, c5 1, c6 1, c7 1, c8 1, c9 1, ...")
