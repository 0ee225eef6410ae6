"""What is said of every video: the best five of its mean probabilities, and which answers are most wrong."""

import csv
import io

import numpy as np

from utils.evaluation.top_classes import answer, join_answers, render_predictions
from utils.metrics import ViewMetrics, probabilities


def test_the_best_five_are_those_of_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (50, 9)) / 6  # many ties
    labels = rng.integers(0, 9, 50)
    found = join_answers([answer(np.arange(k, k + 25), labels[k : k + 25], scores[k : k + 25]) for k in (0, 25)])
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(found.guesses, expected)
    np.testing.assert_array_equal(found.scores, np.take_along_axis(scores, expected, axis=1))
    np.testing.assert_array_equal(found.own, scores[np.arange(50), labels])
    assert found.videos.tolist() == list(range(50))


def test_the_most_wrong_come_first() -> None:
    scores = np.array([[0.5, 0.4, 0.1], [0.9, 0.0, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    found = answer(np.array([3, 5, 7, 9]), np.array([1, 2, 1, 0]), scores)
    worst = found.most_wrong(10)
    assert [(mistake.video, mistake.label, mistake.guess) for mistake in worst] == [(5, 2, 0), (9, 0, 1), (3, 1, 0)]
    assert (worst[0].own, worst[0].score) == (0.1, 0.9)
    assert found.most_wrong(1) == worst[:1]


def test_what_is_counted_is_what_is_written() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((6, 2, 3, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1])
    mean = ViewMetrics(4).add(logits, labels)
    np.testing.assert_array_equal(mean, probabilities(logits).mean(axis=(1, 2), dtype=np.float64))
    names = ["a", 'b, "c"', "d\ne", "f"]
    text = render_predictions(answer(np.arange(6), labels, mean), path_of="v{}.mp4".format, class_names=names)
    rows = list(csv.DictReader(io.StringIO(text)))
    for video, row in enumerate(rows):
        order = np.argsort(-mean[video])
        assert (row["video"], row["class"]) == (f"v{video}.mp4", names[labels[video]])
        assert [row[f"guess_{rank}"] for rank in range(1, 5)] == [names[guess] for guess in order]
        np.testing.assert_allclose([float(row[f"score_{k}"]) for k in range(1, 5)], mean[video][order], atol=1e-6)
        assert row["right"] == ("yes" if order[0] == labels[video] else "no")
        assert float(row["score_of_class"]) == round(mean[video, labels[video]], 6)
    assert len(rows) == 6 and "guess_5" not in rows[0]
