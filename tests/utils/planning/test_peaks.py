"""The peak rule: orders written by hand, and searches of many curves end near their minimum."""

import functools
import math
import random
from collections.abc import Callable

import pytest

from utils.planning.peaks import PeakRule

RULE = PeakRule((0.5, 1.0, 2.0, 4.0, 8.0))


def run(loss_of: Callable[[float], float]) -> tuple[list[float], float | None]:
    losses: dict[float, float] = {}
    while (factor := RULE.next_factor(losses)) is not None:
        assert factor not in losses
        losses[factor] = loss_of(factor)
        assert len(losses) <= 9
    return list(losses), RULE.best(losses)


def squared_distance(optimum: float, factor: float) -> float:
    return math.log(factor / optimum) ** 2


def test_factors_increase_until_the_loss_rises_then_one_refinement() -> None:
    tried, best = run({0.5: 3, 1: 2, 2: 1, 4: 1.5, math.sqrt(8): 0.9}.__getitem__)
    assert tried == [0.5, 1, 2, 4, pytest.approx(math.sqrt(8))]
    assert best == pytest.approx(math.sqrt(8))


def test_divergence_ends_the_increase() -> None:
    tried, best = run({0.5: 3, 1: 2, 2: math.nan, math.sqrt(0.5): 2.2}.__getitem__)
    assert tried == [0.5, 1, 2, pytest.approx(math.sqrt(0.5))]
    assert best == 1


def test_a_lowest_factor_that_is_too_high_is_halved() -> None:
    tried, best = run(lambda factor: abs(math.log(factor / 0.13)))
    assert tried[:4] == [0.5, 1.0, 0.25, 0.125]
    assert best == pytest.approx(0.125)
    tried, best = run(lambda factor: math.inf if factor > 0.2 else 1.0)
    assert tried == [0.5, 0.25, 0.125, 0.0625, pytest.approx(0.125 * math.sqrt(0.5))]
    assert best == pytest.approx(0.125 * math.sqrt(0.5))  # the median of three equal losses


def test_nothing_trains_at_any_rate() -> None:
    tried, best = run(lambda factor: math.nan)
    assert tried == [0.5, 0.25, 0.125, 0.0625]
    assert best is None


def test_the_highest_may_win() -> None:
    tried, best = run(lambda factor: -factor)
    assert tried == [0.5, 1, 2, 4, 8, pytest.approx(math.sqrt(32))]
    assert best == 8


def test_smooth_curves_end_within_a_step_of_their_minimum() -> None:
    rng = random.Random(0)
    for _ in range(200):
        optimum = 2 ** rng.uniform(-4, 3)
        tried, best = run(functools.partial(squared_distance, optimum))
        assert best is not None
        assert abs(math.log2(best / optimum)) <= 0.5
        assert len(tried) <= 7


def test_runs_that_learned_nothing_do_not_decide() -> None:
    """Losses above chance are noise: neither the lowest nor the median of them is the peak."""
    rule = PeakRule((0.25, 1.0, 4.0), tolerance=0.05, chance_loss=math.log(12))
    nothing = {0.25: 2.44, 1.0: 2.60, 4.0: 2.75}
    assert rule.next_factor({0.25: 2.44}) == 1.0
    assert rule.next_factor({0.25: 2.44, 1.0: 2.60}) == 4.0, "a rise among losses above chance does not count"
    assert rule.next_factor(nothing) is None
    assert rule.best(nothing) == 1.0, "the rate of the record"
    assert rule.best({**nothing, 1.0: math.nan}) == 0.25, "where training did not diverge"
    learned = {**nothing, 4.0: 2.2}
    assert rule.next_factor(learned) == 2.0
    assert rule.best(learned) == 4.0


def test_losses_within_the_tolerance_are_the_same() -> None:
    """Noise neither ends the search early nor decides among equals: their median is taken."""
    rule = PeakRule((0.5, 1.0, 2.0, 4.0, 8.0), tolerance=0.03)
    losses = {0.5: 1.00, 1.0: 1.02, 2.0: 0.99}
    assert rule.next_factor(losses) == 4.0
    assert rule.next_factor({**losses, 4.0: 1.03}) == pytest.approx(math.sqrt(2))
    assert rule.best({**losses, 4.0: 1.03}) == 1.0
    assert rule.next_factor({0.5: 1.0, 1.0: 1.04}) == 0.25
    assert rule.next_factor({0.5: 1.0, 1.0: 1.02, 2.0: 1.2}) == pytest.approx(math.sqrt(0.5))
