"""Splits of a budget: the choice is compared with brute force; properties hold for every law."""

import random
from typing import Any

import numpy as np
import pytest

from tests.utils.planning.test_law import law
from utils.planning.budget import (
    Budget,
    SplitWorth,
    choose_split,
    list_splits,
    marginal_worth,
    weigh_splits,
    worth,
)
from utils.planning.envelope import SHAPES, Envelope
from utils.planning.law import Posterior, Readout, fit_posterior

LINEAR = Envelope("linear")


def one_point(
    *, alpha: float, tau: float, parts: tuple[float, ...], floor: float = 0.0, height: float = 2.0
) -> Posterior:
    """Return a posterior with all its weight on one law."""
    columns = {"alphas": alpha, "taus": tau, "components": parts, "floors": floor, "heights": height, "log_weights": 0}
    return Posterior(**{name: np.array([value], dtype=np.float64) for name, value in columns.items()})


def test_weighted_epochs_of_known_splits() -> None:
    budget = Budget(compute=60.0, costs=(2.0, 5.0, 10.0), envelope=LINEAR)
    assert budget.weighted_epochs(budget.goal_only) == pytest.approx((0, 0, 6 * 0.5))
    # The first half at the short input: 15 epochs, rate 1 to 0.5; then 3 at the goal, rate 0.5 to 0.
    assert budget.weighted_epochs((0.5, 0.0, 0.5)) == pytest.approx((30 * 0.375, 0, 6 * 0.125))
    assert budget.weighted_epochs((0.5, 0.0, 0.5), until=0.25) == pytest.approx((30 * (0.25 - 0.03125), 0, 0))
    assert budget.tau_scale == pytest.approx(15)
    # From there, at a rate of 0.75, to zero over 0.4 epochs of the goal.
    cooled = budget.weighted_cool_down(0, at=0.25, epochs=0.4)
    assert cooled == pytest.approx((30 * (0.25 - 0.03125), 0, 0.4 * 0.75 / 2))
    assert budget.weighted_cool_down(2, at=1.0, epochs=9.0) == pytest.approx((0, 0, 3)), "nothing is left to anneal"


def test_the_lattice_holds_the_hand_made_schedules() -> None:
    budget = Budget(compute=1.0, costs=(0.2, 0.5, 1.0), envelope=LINEAR)
    splits = list_splits(budget)
    assert len(splits) == 45 == len(set(splits))
    assert all(sum(split) == 1 and split[-1] >= 0.5 for split in splits)
    assert {(0, 0, 1), (0.25, 0, 0.75), (0.25, 0.25, 0.5), (0.125, 0.375, 0.5)} <= set(splits)
    assert (0.5, 0.25, 0.25) not in splits
    assert (0.5, 0.25, 0.25) in list_splits(budget, min_goal=0.25)
    assert (0.0, 0.25, 0.75) in list_splits(budget, min_goal=0.75)
    assert (0.5, 0.0, 0.5) not in list_splits(budget, min_goal=0.75)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_choice_is_the_best_of_a_brute_force(shape: str) -> None:
    rng = random.Random(shape)
    for _ in range(15):
        truth: dict[str, Any] = {"alpha": rng.choice([0.3, 0.8]), "tau": rng.uniform(0.1, 3), "parts": (0.6, 0.2, 0.2)}
        budget = Budget(compute=rng.uniform(5, 40), costs=(rng.uniform(0.05, 1), 0.6, 1.0), envelope=Envelope(shape))
        plan = choose_split(one_point(**truth), budget)
        best = max(
            100 * np.exp(-law(budget.weighted_epochs(split), floor=0.0, height=2.0, **truth) / 2)
            for split in list_splits(budget)
        )
        mine = 100 * np.exp(-law(budget.weighted_epochs(plan.chosen.split), floor=0.0, height=2.0, **truth) / 2)
        assert mine == pytest.approx(best, rel=1e-12)
        assert plan.chosen.spread == 0


def test_dynamic_programming_finds_the_enumerated_optimum() -> None:
    """The Bellman recursion over (input, sixteenths used) visits the same splits: worth depends on fractions alone."""
    truth: dict[str, Any] = {"alpha": 0.6, "tau": 1.0, "parts": (0.5, 0.25, 0.25)}
    budget = Budget(compute=20.0, costs=(0.25, 0.5, 1.0), envelope=LINEAR)
    posterior = one_point(**truth)

    def best_from(fractions: tuple[int, ...], left: int) -> float:
        if len(fractions) == 2:
            split = (*(fraction / 16 for fraction in fractions), left / 16)
            return float(worth(posterior.losses(np.array([budget.weighted_epochs(split)])))[0, 0])
        return max(best_from((*fractions, fraction), left - fraction) for fraction in range(left - 8 + 1))

    chosen = choose_split(posterior, budget).chosen.split
    mine = float(worth(posterior.losses(np.array([budget.weighted_epochs(chosen)])))[0, 0])
    assert mine == pytest.approx(best_from((), 16), rel=1e-12)


def random_readouts(rng: random.Random, budget: Budget) -> list[Readout]:
    level = rng.uniform(1, 4)
    readouts = []
    for pilot, split in enumerate((budget.goal_only, (0.5, *budget.goal_only[1:-1], 0.5))):
        for k in range(1, 9):
            weighted = tuple(value / 32 * k / 8 for value in budget.weighted_epochs(split))
            level *= rng.uniform(0.9, 1.02)
            readouts.append(Readout(pilot, k / 256, weighted, level, 0.02))
    return readouts


def test_a_short_input_that_costs_as_much_as_the_goal_is_never_used() -> None:
    rng = random.Random(0)
    for _ in range(30):
        budget = Budget(compute=rng.uniform(1, 50), costs=(1.0, 1.0, 1.0), envelope=Envelope(rng.choice(SHAPES)))
        posterior = fit_posterior(random_readouts(rng, budget), tau_scale=budget.tau_scale)
        assert choose_split(posterior, budget).chosen == SplitWorth((0.0, 0.0, 1.0), 0.0, 0.0)


def test_without_evidence_or_gain_the_plan_is_all_at_the_goal() -> None:
    budget = Budget(compute=10.0, costs=(0.1, 1.0), envelope=LINEAR)
    baseline = SplitWorth((0.0, 1.0), 0.0, 0.0)
    assert choose_split(None, budget).chosen == baseline
    flat = [Readout(0, 0.01 * k, (0.0, 0.1 * k), 1.0, 0.01) for k in range(1, 9)]
    assert choose_split(fit_posterior(flat, tau_scale=budget.tau_scale), budget).chosen == baseline


def test_a_plan_does_not_depend_on_the_order_of_the_readouts() -> None:
    rng = random.Random(5)
    budget = Budget(compute=20.0, costs=(0.2, 0.5, 1.0), envelope=LINEAR)
    for _ in range(10):
        readouts = random_readouts(rng, budget)
        first, again, shuffled = (
            choose_split(fit_posterior(order, tau_scale=budget.tau_scale), budget).chosen
            for order in (readouts, list(readouts), rng.sample(readouts, len(readouts)))
        )
        assert first == again
        assert shuffled.split == first.split


def test_risk_penalizes_uncertain_gains() -> None:
    rng = random.Random(7)
    budget = Budget(compute=20.0, costs=(0.2, 0.5, 1.0), envelope=LINEAR)
    posterior = fit_posterior(random_readouts(rng, budget), tau_scale=budget.tau_scale)
    assert posterior is not None
    weighed = {each.split: each for each in weigh_splits(posterior, budget, list_splits(budget))}
    for risk in (0.0, 0.5, 3.0):
        chosen = choose_split(posterior, budget, risk=risk).chosen
        best = max([each.gain - risk * each.spread for each in weighed.values()] + [0.0])
        assert chosen.gain - risk * chosen.spread == pytest.approx(best, abs=1e-12)


def test_marginal_worths_of_two_inputs_cross_at_the_best_split() -> None:
    posterior = one_point(alpha=0.6, tau=1.0, parts=(0.6, 0.4))
    budget = Budget(compute=20.0, costs=(0.2, 1.0), envelope=LINEAR)
    fine = [(k / 400, 1 - k / 400) for k in range(400)]
    worths = worth(posterior.losses(np.array([budget.weighted_epochs(split) for split in fine])))[0]
    best = fine[int(np.argmax(worths))]
    assert 0.02 < best[0] < 0.98
    curves = marginal_worth(posterior, budget, best, points=400)
    crossing = int(np.argmin(np.abs(curves[:, 0] - curves[:, 1])))
    # Both curves contain the same factor of the envelope, so at the best split they agree at every point.
    assert curves[crossing, 0] == pytest.approx(curves[crossing, 1], rel=0.05)
