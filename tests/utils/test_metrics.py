"""Accuracies against brute force: sorting in plain Python."""

import math

import numpy as np
import pytest

from utils.metrics import (
    TOP_KS,
    MetricsError,
    ViewMetrics,
    class_accuracies,
    confusion_matrix,
    counted_ranks,
    label_ranks,
    max_top_k_ranks,
    probabilities,
    top_k_accuracies,
    top_k_hits,
)


def brute_order(scores):
    """Return class numbers in the order of decreasing scores, ties by class number."""
    return sorted(range(len(scores)), key=lambda c: (-scores[c], c))


def random_scores(rng, *shape, tied=False):
    scores = rng.random(shape, dtype=np.float32)
    return np.round(scores, 1) if tied else scores


@pytest.mark.parametrize("tied", [False, True])
def test_the_rank_is_the_position_of_the_label_in_the_sorted_classes(tied):
    rng = np.random.default_rng(0)
    scores, labels = random_scores(rng, 200, 7, tied=tied), rng.integers(7, size=200)
    expected = [brute_order(row.tolist()).index(label) for row, label in zip(scores, labels.tolist(), strict=True)]
    assert label_ranks(scores, labels).tolist() == expected


def test_the_predicted_class_has_rank_0():
    scores = random_scores(np.random.default_rng(1), 100, 5, tied=True)
    assert (label_ranks(scores, scores.argmax(axis=-1)) == 0).all()


def test_equal_scores_predict_class_0():
    ranks = label_ranks(np.full((4, 4), 0.25), np.arange(4))
    assert ranks.tolist() == [0, 1, 2, 3]
    assert top_k_accuracies(ranks, 4)[1] == 0.25


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_have_no_rank(value, place):
    """For the true class (1) and for another one."""
    scores = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    scores[1, place] = value
    with pytest.raises(MetricsError, match="NaN or infinite"):
        label_ranks(scores, np.array([1, 1]))
    with pytest.raises(MetricsError, match="NaN or infinite"):
        max_top_k_ranks(np.stack([scores, scores]), np.array([1, 1]))
    with pytest.raises(MetricsError, match="NaN or infinite"):
        ViewMetrics(3).add(scores[None, None].astype(np.float32), np.array([1]))


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [(2, (1, 1, 1)), (3, (1, 2, 2)), (4, (1, 3, 3)), (5, (1, 3, 4)), (6, (1, 3, 5)), (400, (1, 3, 5))],
)
def test_no_top_k_is_correct_by_definition(num_classes, expected):
    """A network that always ranks the true class last is wrong for every k."""
    assert tuple(counted_ranks(num_classes).values()) == expected
    last = np.full(10, num_classes - 1)
    assert top_k_hits(last, num_classes) == {1: 0, 3: 0, 5: 0}
    for k, counted in zip(TOP_KS, expected, strict=True):
        assert top_k_hits(np.arange(num_classes), num_classes)[k] == counted


def test_without_predictions_accuracies_are_nan():
    assert np.isnan(list(top_k_accuracies(np.zeros(0, dtype=np.int64), 9).values())).all()


def test_probabilities_are_the_softmax_in_float64_of_any_finite_logits():
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 30, (50, 3, 9)).astype(np.float32)
    logits[0, 0] = [3e38, -3e38, 0, 1, 2, 3, 4, 5, 6]  # their difference is more than float32 holds
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True).astype(np.float64))
    before = logits.copy()
    np.testing.assert_allclose(probabilities(logits), powers / powers.sum(axis=-1, keepdims=True), atol=1e-6)
    assert (logits == before).all()


def test_confusion_counts_true_by_predicted():
    rng = np.random.default_rng(2)
    labels, predictions = rng.integers(5, size=300), rng.integers(5, size=300)
    expected = np.zeros((5, 5), dtype=int)
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label, prediction] += 1
    assert (confusion_matrix(labels, predictions, 5) == expected).all()


def test_a_class_without_videos_has_no_accuracy():
    accuracies = class_accuracies(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]]))
    assert accuracies[[0, 2]].tolist() == [0.75, 0.5]
    assert np.isnan(accuracies[1])


def test_max_top_k_averages_the_k_highest_clips_of_each_class_separately():
    rng = np.random.default_rng(3)
    scores, labels = random_scores(rng, 40, 6, 5), rng.integers(5, size=40)
    ranks = max_top_k_ranks(scores.astype(np.float64), labels)
    for k in range(1, 7):
        for video in range(40):
            per_class = [sum(sorted(scores[video, :, c].tolist(), reverse=True)[:k]) / k for c in range(5)]
            assert ranks[video, k - 1] == brute_order(per_class).index(labels[video])


def brute_softmax(logits):
    """Probabilities of one view, in float64."""
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def brute_metrics(logits, labels, num_classes):
    """Return every accuracy of `Metrics` except the released row by loops over videos, crops and clips."""
    num_videos, num_crops, num_clips, _ = logits.shape
    orders, clip_orders = [], []
    for video in range(num_videos):
        views = [logits[video, crop, clip].tolist() for crop in range(num_crops) for clip in range(num_clips)]
        clip_orders.append([brute_order(view) for view in views])
        views = [brute_softmax(view) for view in views]
        orders.append(brute_order([sum(view[c] for view in views) / len(views) for c in range(num_classes)]))
    counted = {k: min(k, num_classes - 1) for k in TOP_KS}
    whole = {
        k: sum(label in order[:n] for order, label in zip(orders, labels, strict=True)) / num_videos
        for k, n in counted.items()
    }
    clip = {
        k: sum(label in order[:n] for views, label in zip(clip_orders, labels, strict=True) for order in views)
        / (num_videos * num_crops * num_clips)
        for k, n in counted.items()
    }
    per_class = []
    for c in sorted(set(labels)):
        mine = [order[0] == c for order, label in zip(orders, labels, strict=True) if label == c]
        per_class.append(sum(mine) / len(mine))
    return whole, clip, sum(per_class) / len(per_class)


@pytest.mark.parametrize("num_classes", [2, 4, 9])
def test_view_metrics_equal_brute_force_in_any_blocks(num_classes):
    rng = np.random.default_rng(num_classes)
    scores = random_scores(rng, 60, 3, 4, num_classes)
    labels = rng.integers(max(num_classes - 1, 1), size=60)  # the last class has no video
    scores = 8 * scores  # sure of some views: the mean of probabilities is not the mean of logits
    scores[np.arange(60), :, :, labels] += 0.8
    video, clip, mean_class = brute_metrics(scores, labels.tolist(), num_classes)
    for block in (1, 7, 60):
        metrics = ViewMetrics(num_classes)
        for begin in range(0, 60, block):
            metrics.add(scores[begin : begin + block], labels[begin : begin + block])
        result = metrics.result()
        assert result.video == pytest.approx(video)
        assert result.clip == pytest.approx(clip)
        assert result.further["mean_class"] == pytest.approx(mean_class)
        assert result.num_videos == 60 == result.confusion.sum()
        assert np.trace(result.confusion) / 60 == pytest.approx(result.video[1])


def test_best_k_is_the_smallest_of_the_best_by_top1_and_k_of_all_clips_is_the_mean_of_logits():
    rng = np.random.default_rng(5)
    scores, labels = random_scores(rng, 80, 2, 5, 6), rng.integers(6, size=80)
    scores[np.arange(80), :, :, labels] += 0.15
    metrics = ViewMetrics(6)
    metrics.add(scores, labels)
    result = metrics.result()
    assert len(result.max_top_k_top1) == 5
    mean = scores.astype(np.float64).mean(axis=(1, 2))
    assert result.max_top_k_top1[-1] == (mean.argmax(axis=1) == labels).mean()
    assert result.max_top_k[1] == max(result.max_top_k_top1)
    assert result.best_k == result.max_top_k_top1.index(max(result.max_top_k_top1)) + 1


def confident_logits(rng, num_videos, num_crops, num_clips, num_classes):
    """Return labels, and logits whose scale differs between views: a few large views dominate the mean logits."""
    labels = rng.integers(num_classes, size=num_videos)
    logits = rng.normal(size=(num_videos, num_crops, num_clips, num_classes))
    logits[np.arange(num_videos), :, :, labels] += 0.8
    loudness = np.exp(rng.normal(0, 2, (num_videos, num_crops, num_clips, 1)))
    return (logits * loudness).astype(np.float32), labels


def brute_released(video, k):
    """Classes in their order by the released code's row of k: a video's scores [crops][clips][classes] as lists."""
    num_crops, num_clips, num_classes = len(video), len(video[0]), len(video[0][0])
    clips = [
        [sum(video[crop][clip][c] for crop in range(num_crops)) / num_crops for c in range(num_classes)]
        for clip in range(num_clips)
    ]
    return brute_order([sum(sorted((clip[c] for clip in clips), reverse=True)[:k]) / k for c in range(num_classes)])


def test_the_headline_uses_probabilities_and_the_released_row_logits():
    """Where the two differ clearly, each equals its definition in plain Python over float64."""
    logits, labels = confident_logits(np.random.default_rng(6), 150, 3, 4, 8)
    metrics = ViewMetrics(8)
    metrics.add(logits, labels)
    result = metrics.result()
    videos = list(zip(logits.tolist(), labels.tolist(), strict=True))
    top1 = [sum(brute_released(video, k)[0] == label for video, label in videos) / 150 for k in (1, 2, 3, 4)]
    assert result.max_top_k_top1 == pytest.approx(top1)
    orders = [(brute_released(video, result.best_k), label) for video, label in videos]
    assert result.max_top_k == pytest.approx({n: sum(label in o[:n] for o, label in orders) / 150 for n in TOP_KS})
    assert result.video == pytest.approx(brute_metrics(logits, labels.tolist(), 8)[0])
    assert abs(result.video[1] - top1[-1]) > 0.05
    of_probabilities = [[[brute_softmax(view) for view in crop] for crop in video] for video, _ in videos]
    swapped = sum(brute_released(video, 1)[0] == label for video, label in zip(of_probabilities, labels, strict=True))
    assert abs(swapped / 150 - top1[0]) > 0.05
