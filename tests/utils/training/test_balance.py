"""Class weights and balanced draws: equal to their definitions, for any number of processes."""

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from layers.losses import HeadsLoss
from tests.utils.training.test_batches import steps_of
from utils.training.balance import class_weights, count_earlier, make_order
from utils.training.batches import EpochBatches, plan_steps

LABELS = np.repeat([0, 1, 3], [60, 12, 3])  # class 2 has no video


@pytest.mark.parametrize(("rule", "ratio"), [("none", 1.0), ("sqrt", 5**0.5), ("balanced", 5.0)])
def test_weights_have_the_stated_ratio_and_mean_1_over_the_clips(rule: str, ratio: float) -> None:
    weights = class_weights(np.bincount(LABELS, minlength=5).astype(float), rule)
    assert weights[1] / weights[0] == pytest.approx(ratio)
    assert weights[LABELS].mean() == pytest.approx(1)
    assert weights[[2, 4]].tolist() == [1, 1]
    if rule == "balanced":  # as scikit-learn has it: videos / (classes x videos of the class)
        assert weights[[0, 1, 3]] == pytest.approx(75 / (3 * np.array([60, 12, 3])))


def test_a_weighted_loss_is_the_mean_of_weighted_losses_and_adds_up_over_micro_batches() -> None:
    torch.manual_seed(0)
    heads = (torch.randn(6, 4), torch.randn(6, 4))
    labels, weights = torch.tensor([0, 0, 1, 3, 3, 2]), torch.tensor([0.5, 2.0, 1.0, 4.0])
    logs = [head.double().log_softmax(1) for head in heads]
    smooth = F.one_hot(labels, 4) * 0.9 + 0.025
    expected = -((smooth * (logs[0] + logs[1])).sum(1) * weights[labels]).mean()
    loss = HeadsLoss(label_smoothing=0.1, class_weights=weights)
    assert loss(heads, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    halves = [loss(tuple(head[part] for head in heads), labels[part]) for part in (slice(3), slice(3, 6))]
    assert (sum(halves) / 2).item() == pytest.approx(expected.item(), rel=1e-6)
    soft = torch.lerp(F.one_hot(labels, 4).float(), F.one_hot(labels.flip(0), 4).float(), 0.3)
    factors = torch.lerp(weights[labels], weights[labels.flip(0)], 0.3)
    expected = -((soft * (logs[0] + logs[1])).sum(1) * factors).mean()
    assert loss(heads, soft).item() == pytest.approx(expected.item(), rel=1e-6)
    assert HeadsLoss(class_weights=torch.ones(4))(heads, labels).item() == pytest.approx(
        HeadsLoss()(heads, labels).item(), rel=1e-6
    )
    assert loss.state_dict() == {}


@pytest.mark.parametrize(
    ("rule", "parts"), [("sqrt", [60**0.5, 12**0.5, 3**0.5]), ("balanced", [1.0, 1.0, 1.0]), ("none", [60, 12, 3])]
)
def test_classes_get_their_fractions_of_an_epoch_and_videos_rotate(rule: str, parts: list[float]) -> None:
    order = make_order(LABELS, rule)
    expected, found = np.array(parts) / sum(parts) * 75, np.zeros(3)
    for epoch in range(200):
        drawn = order(np.random.default_rng((1, epoch)))
        assert len(drawn) == 75
        counts = np.bincount(LABELS[drawn], minlength=4)[[0, 1, 3]]
        assert np.abs(counts - expected).max() < 1
        for label in (0, 1, 3):
            times = Counter(drawn[LABELS[drawn] == label].tolist())
            whole = [times[video] for video in np.flatnonzero(label == LABELS)]
            assert max(whole) - min(whole) <= 1
        found += counts
    assert np.abs(found / 200 - expected).max() < 0.15
    assert not np.array_equal(order(np.random.default_rng(0)), order(np.random.default_rng(1)))


def test_a_repeated_video_gives_another_clip_on_any_number_of_processes() -> None:
    order = make_order(LABELS, "balanced")
    keys = []
    for world in (1, 2, 4):
        plan = plan_steps(batch_size=2, iter_size=2, num_gpu=4, world_size=world)
        ranks = []
        for rank in range(world):
            batches = EpochBatches(75, plan, rank=rank, seed=(3, 1), order=order)
            batches.start(2)
            whole = list(batches)
            ranks.append(whole)
            batches.start(2, first_batch=3)
            assert list(batches) == whole[3:]  # like a resumed run
        keys.append([key for group in zip(*ranks, strict=True) for batch in group for key in batch])
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys[0])) == len(keys[0]) == 72
    assert {key[:2] for key in keys[0] if len(key) > 2} <= {key for key in keys[0] if len(key) == 2}
    assert count_earlier(np.array([4, 2, 4, 4, 0, 2])).tolist() == [0, 0, 1, 2, 0, 1]


def test_without_balance_the_order_is_unchanged() -> None:
    plan = plan_steps(batch_size=4, iter_size=1, num_gpu=1, world_size=1)
    batches = EpochBatches(40, plan, rank=0, seed=(3, 1), order=make_order(np.zeros(40, dtype=int), "none"))
    order = np.random.default_rng((3, 1, 0)).permutation(40)
    assert list(batches) == [[(0, int(video)) for video in order[i : i + 4]] for i in range(0, 40, 4)]
    assert steps_of(plan, 40) == [sorted(order[i : i + 4].tolist()) for i in range(0, 40, 4)]
