"""The five best classes of every video by its mean probabilities, and the worst errors."""

import csv
import io

import numpy as np

from utils.evaluation.top_classes import find_top_classes, join_top_classes, render_predictions
from utils.metrics import ViewMetrics, probabilities


def test_the_best_five_equal_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (50, 9)) / 6  # many ties
    labels = rng.integers(0, 9, 50)
    halves = (slice(0, 25), slice(25, 50))
    found = join_top_classes([find_top_classes(np.arange(50)[half], labels[half], scores[half]) for half in halves])
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(found.guesses, expected)
    np.testing.assert_array_equal(found.scores, np.take_along_axis(scores, expected, axis=1))
    np.testing.assert_array_equal(found.label_scores, scores[np.arange(50), labels])
    assert found.videos.tolist() == list(range(50))


def test_the_worst_errors_come_first() -> None:
    scores = np.array([[0.5, 0.4, 0.1], [0.9, 0.0, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    found = find_top_classes(np.array([3, 5, 7, 9]), np.array([1, 2, 1, 0]), scores)
    worst = found.worst_errors(10)
    assert [(error.video, error.label, error.guess) for error in worst] == [(5, 2, 0), (9, 0, 1), (3, 1, 0)]
    assert (worst[0].label_score, worst[0].guess_score) == (0.1, 0.9)
    assert found.worst_errors(1) == worst[:1]


def test_predictions_csv_agrees_with_the_metrics() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((6, 2, 3, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1])
    mean = ViewMetrics(4).add(logits, labels)
    np.testing.assert_array_equal(mean, probabilities(logits).mean(axis=(1, 2), dtype=np.float64))
    names = ["a", 'b, "c"', "d\ne", "f"]
    text = render_predictions(find_top_classes(np.arange(6), labels, mean), path_of="v{}.mp4".format, class_names=names)
    rows = list(csv.DictReader(io.StringIO(text)))
    for video, row in enumerate(rows):
        order = np.argsort(-mean[video])
        assert (row["video"], row["class"]) == (f"v{video}.mp4", names[labels[video]])
        assert [row[f"guess_{rank}"] for rank in range(1, 5)] == [names[guess] for guess in order]
        np.testing.assert_allclose([float(row[f"score_{k}"]) for k in range(1, 5)], mean[video][order], atol=1e-6)
        assert row["right"] == ("yes" if order[0] == labels[video] else "no")
        assert float(row["score_of_class"]) == round(mean[video, labels[video]], 6)
    assert len(rows) == 6 and "guess_5" not in rows[0]
