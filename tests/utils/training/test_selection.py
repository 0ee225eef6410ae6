"""The best epoch: its definition on random curves, and its state in a checkpoint."""

import numpy as np
import pytest
import torch

from tests.conftest import MakeRecord
from utils.config import ConfigError, load_config
from utils.metrics import ValidationScore
from utils.training.selection import BestEpoch


def score_of(top1: float, mean: float) -> ValidationScore:
    return ValidationScore(top1, 0.0, 0.0, mean, videos=9, missing=0)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_epoch_is_the_latest_with_the_highest_score(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curve = [(float(top1), float(mean)) for top1, mean in rng.integers(0, 4, size=(12, 2))]
    best = BestEpoch(patience=3)
    for done in range(1, 13):
        weights = {"w": torch.full((2,), float(done))}
        best.update(done, score_of(*curve[done - 1]), weights=weights)
        weights["w"].zero_()  # training continues in the same memory
        highest = max(curve[:done])
        epochs = [epoch for epoch in range(1, done + 1) if curve[epoch - 1] == highest]
        assert (best.epoch, best.since, best.score) == (epochs[-1], epochs[0], highest)
        assert best.weights["w"].tolist() == [epochs[-1]] * 2
        assert best.is_over(done) == (done - epochs[0] >= 3)
        again = BestEpoch(patience=3)
        again.load_state_dict(best.state_dict())
        assert again == best
        best = again
    assert not BestEpoch(patience=0, since=1).is_over(1000)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.patience=3"], r"optimizer\.patience: .*set optimizer\.select: best"),
        (["optimizer.select=best", "optimizer.eva_inter=false"], r"optimizer\.eva_inter: .*set it to true"),
        (["optimizer.select=best", "optimizer.heldout_fraction=0"], r"optimizer\.heldout_fraction: nothing would be"),
        (
            ["optimizer.select=best", "optimizer.keep_momentum=true", "optimizer.epochs=[1, 2]"],
            r"optimizer\.keep_momentum: .*set optimizer\.select: last",
        ),
        (
            ["optimizer.class_weights=sqrt", "sampler.balance=sqrt"],
            r"optimizer\.class_weights: .*one of the two to none",
        ),
        (["sampler.balance=evenly"], r"sampler\.balance: found 'evenly', allowed: none, balanced, sqrt"),
    ],
)
def test_contradictions_end_in_one_line(make_record: MakeRecord, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(make_record(), words)
