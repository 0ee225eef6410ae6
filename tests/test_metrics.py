"""Accuracies against brute force written another way: sorting whole lists in plain Python."""

import numpy as np
import pytest

from utils.metrics import (
    TOP_KS,
    ViewMetrics,
    class_accuracies,
    confusion_matrix,
    label_ranks,
    max_top_k_ranks,
    top_k_accuracy,
)


def brute_order(scores):
    """Class numbers in order of falling score, equal scores by class number."""
    return sorted(range(len(scores)), key=lambda c: (-scores[c], c))


def random_scores(rng, *shape, tied=False):
    scores = rng.random(shape, dtype=np.float32)
    return np.round(scores, 1) if tied else scores


@pytest.mark.parametrize("tied", [False, True])
def test_rank_is_the_place_of_the_label_in_the_sorted_classes(tied):
    rng = np.random.default_rng(0)
    scores, labels = random_scores(rng, 200, 7, tied=tied), rng.integers(7, size=200)
    expected = [brute_order(row.tolist()).index(label) for row, label in zip(scores, labels.tolist(), strict=True)]
    assert label_ranks(scores, labels).tolist() == expected


def test_the_predicted_class_is_the_one_of_rank_0():
    scores = random_scores(np.random.default_rng(1), 100, 5, tied=True)
    assert (label_ranks(scores, scores.argmax(axis=-1)) == 0).all()


def test_a_network_that_says_nothing_is_right_for_class_0_only():
    ranks = label_ranks(np.full((4, 4), 0.25), np.arange(4))
    assert ranks.tolist() == [0, 1, 2, 3]
    assert top_k_accuracy(ranks, 1) == 0.25


def test_k_above_the_number_of_classes_is_all_classes():
    ranks = label_ranks(np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2]]), np.array([2, 1]))
    assert top_k_accuracy(ranks, 5) == 1.0
    assert top_k_accuracy(ranks, 2) == 0.5


def test_no_prediction_has_no_accuracy():
    assert np.isnan(top_k_accuracy(np.zeros(0, dtype=np.int64), 1))


def test_confusion_counts_true_by_predicted():
    rng = np.random.default_rng(2)
    labels, predictions = rng.integers(5, size=300), rng.integers(5, size=300)
    expected = np.zeros((5, 5), dtype=int)
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label, prediction] += 1
    assert (confusion_matrix(labels, predictions, 5) == expected).all()


def test_a_class_without_a_video_has_no_accuracy():
    accuracies = class_accuracies(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]]))
    assert accuracies[[0, 2]].tolist() == [0.75, 0.5]
    assert np.isnan(accuracies[1])


def test_max_top_k_means_the_k_highest_clips_of_each_class_by_itself():
    rng = np.random.default_rng(3)
    scores, labels = random_scores(rng, 40, 6, 5), rng.integers(5, size=40)
    ranks = max_top_k_ranks(scores.astype(np.float64), labels)
    for k in range(1, 7):
        for video in range(40):
            per_class = [sum(sorted(scores[video, :, c].tolist(), reverse=True)[:k]) / k for c in range(5)]
            assert ranks[video, k - 1] == brute_order(per_class).index(labels[video])


def brute_metrics(scores, labels, num_classes):
    """Every accuracy of `Metrics` by loops over videos, crops and clips."""
    num_videos, num_crops, num_clips, _ = scores.shape
    orders, clip_orders = [], []
    for video in range(num_videos):
        views = [scores[video, crop, clip].tolist() for crop in range(num_crops) for clip in range(num_clips)]
        orders.append(brute_order([sum(view[c] for view in views) / len(views) for c in range(num_classes)]))
        clip_orders.append([brute_order(view) for view in views])
    whole = {
        k: sum(label in order[:k] for order, label in zip(orders, labels, strict=True)) / num_videos for k in TOP_KS
    }
    clip = {
        k: sum(label in order[:k] for views, label in zip(clip_orders, labels, strict=True) for order in views)
        / (num_videos * num_crops * num_clips)
        for k in TOP_KS
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
    scores[np.arange(60), :, :, labels] += 0.1
    video, clip, mean_class = brute_metrics(scores, labels.tolist(), num_classes)
    for block in (1, 7, 60):
        metrics = ViewMetrics(num_classes)
        for begin in range(0, 60, block):
            metrics.add(scores[begin : begin + block], labels[begin : begin + block])
        result = metrics.result()
        assert result.video == pytest.approx(video)
        assert result.clip == pytest.approx(clip)
        assert result.mean_class == pytest.approx(mean_class)
        assert result.num_videos == 60 == result.confusion.sum()
        assert np.trace(result.confusion) / 60 == pytest.approx(result.video[1])


def test_best_k_is_the_smallest_of_the_best_by_top1_and_k_of_all_clips_is_the_plain_mean():
    rng = np.random.default_rng(5)
    scores, labels = random_scores(rng, 80, 2, 5, 6), rng.integers(6, size=80)
    scores[np.arange(80), :, :, labels] += 0.15
    metrics = ViewMetrics(6)
    metrics.add(scores, labels)
    result = metrics.result()
    assert len(result.max_top_k_top1) == 5
    assert result.max_top_k_top1[-1] == result.video[1]
    assert result.max_top_k[1] == max(result.max_top_k_top1)
    assert result.best_k == result.max_top_k_top1.index(max(result.max_top_k_top1)) + 1
