"""Divide a budget among inputs: choose the split with the best expected gain over "all at the goal".

A path is a split of the compute: fractions for the inputs from short to long, under one envelope of the rate. The worth
of a split under the law depends on these fractions alone, so enumerating their lattice is exact for a given law; a
dynamic program over (input, fraction used) would visit the same splits.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.planning.envelope import Envelope
from utils.planning.law import Posterior

_Floats = NDArray[np.float64]

SPLIT_STEPS = 16  # fractions are multiples of 1/16
MIN_GOAL = 0.5  # smallest fraction at the goal; with it, small pilots are safe
RISK = 0.5  # standard deviations subtracted from an expected gain

Split = tuple[float, ...]  # fraction of the compute for each input, short to long, the last the goal; they sum to 1


@dataclass(frozen=True)
class Budget:
    """Compute to spend, what inputs cost, and the rate over the path.

    Attributes:
        compute: The whole budget, in the unit of the costs (seconds, or frames x pixels).
        costs: Cost of an epoch on each input, short to long; the last is the goal's.
        envelope: The rate over the path.
    """

    compute: float
    costs: tuple[float, ...]
    envelope: Envelope

    @property
    def goal(self) -> int:
        """Index of the goal's input."""
        return len(self.costs) - 1

    @property
    def goal_only(self) -> Split:
        """The baseline split: all compute at the goal."""
        return self.only(self.goal)

    def only(self, number: int) -> Split:
        """Return the split with all compute at one input."""
        return tuple(float(each == number) for each in range(len(self.costs)))

    @property
    def tau_scale(self) -> float:
        """Rate-weighted epochs of the whole budget on its cheapest input, which scale the law's tau."""
        return self.compute / min(self.costs) * self.envelope.integral(0.0, 1.0)

    def weighted_epochs(self, split: Split, *, until: float = 1.0) -> tuple[float, ...]:
        """Return the rate-weighted epochs on each input after a fraction `until` of the compute is spent."""
        starts = itertools.accumulate(split, initial=0.0)
        return tuple(
            self.compute / cost * self.envelope.integral(min(start, until), min(start + fraction, until))
            for start, fraction, cost in zip(starts, split, self.costs, strict=False)
        )

    def weighted_cool_down(self, number: int, *, at: float, epochs: float) -> tuple[float, ...]:
        """Return the rate-weighted epochs on each input of a path that trains one input, then cools down at the goal.

        Args:
            number: Index of the first input.
            at: Fraction of the compute at which the cool-down begins.
            epochs: Epochs of the cool-down on the goal's input; the rate falls linearly from the envelope's to zero.
        """
        *short, goal = self.weighted_epochs(self.only(number), until=at)
        return (*short, goal + self.envelope.factor(at) * epochs / 2)


@dataclass(frozen=True)
class SplitWorth:
    """The expected gain of a split under the law.

    Attributes:
        split: The split.
        gain: Expected worth minus that of "all at the goal", points.
        spread: Standard deviation of the gain, points.
    """

    split: Split
    gain: float
    spread: float


@dataclass(frozen=True)
class SplitPlan:
    """The split to train, and the alternatives.

    Attributes:
        chosen: The chosen split, its gain and spread; "all at the goal" has gain and spread 0.
        table: All splits considered, best first.
    """

    chosen: SplitWorth
    table: tuple[SplitWorth, ...]


def worth(losses: _Floats) -> _Floats:
    """Return the worth of held-out losses in points: 100 exp(-loss / 2), which is 100 for a perfect network."""
    return 100 * np.exp(-losses / 2)


def list_splits(budget: Budget, *, min_goal: float = MIN_GOAL, min_first: float = 0.0) -> list[Split]:
    """Return all splits in sixteenths with at least `min_goal` at the goal.

    Except for "all at the goal", they have at least `min_first` at the first input.
    """
    short = [range(SPLIT_STEPS + 1)] * budget.goal
    splits = [
        (*(count / SPLIT_STEPS for count in counts), 1 - sum(counts) / SPLIT_STEPS)
        for counts in itertools.product(*short)
    ]
    return [split for split in splits if split[-1] == 1 or (split[-1] >= min_goal and split[0] >= min_first)]


def weigh_splits(posterior: Posterior, budget: Budget, splits: Sequence[Split]) -> list[SplitWorth]:
    """Return the expected gain of each split over "all at the goal"."""
    weighted = np.array([budget.weighted_epochs(split) for split in (*splits, budget.goal_only)])
    worths = worth(posterior.losses(weighted))  # [points, splits + 1]
    gains, spreads = posterior.moments(worths[:, :-1] - worths[:, -1:])
    return [
        SplitWorth(split, float(gain), float(spread))
        for split, gain, spread in zip(splits, gains, spreads, strict=True)
    ]


def choose_split(
    posterior: Posterior | None,
    budget: Budget,
    *,
    min_goal: float = MIN_GOAL,
    min_first: float = 0.0,
    risk: float = RISK,
) -> SplitPlan:
    """Choose the split with the largest expected gain minus `risk` standard deviations.

    Without a posterior, or if that value is not positive for any split, the choice is "all at the goal".

    Args:
        posterior: Posterior of the law; None: no evidence.
        budget: Budget of the path; it may differ from the pilots', which plans again for another budget.
        min_goal: Smallest fraction at the goal.
        min_first: Smallest fraction at the first input, unless all is at the goal.
        risk: Standard deviations subtracted from a gain.
    """
    baseline = SplitWorth(budget.goal_only, 0.0, 0.0)
    if posterior is None:
        return SplitPlan(baseline, (baseline,))
    weighed = weigh_splits(posterior, budget, list_splits(budget, min_goal=min_goal, min_first=min_first))
    # Sorting is stable: among equals the split with more at the goal comes first.
    by_goal = sorted(weighed, key=lambda each: each.split[::-1], reverse=True)
    table = tuple(sorted(by_goal, key=lambda each: each.gain - risk * each.spread, reverse=True))
    best = table[0]
    return SplitPlan(best if best.gain - risk * best.spread > 0 else baseline, table)


def marginal_worth(posterior: Posterior, budget: Budget, split: Split, *, points: int = 64) -> _Floats:
    """Return the marginal worth of compute on each input, at points along the path of a split.

    The path should leave the shorter of two inputs where their curves cross: the knee of a budgeted path. Computed as a
    finite difference of a thousandth of the budget at the envelope's rate at each point, evaluated at the path's end.

    Returns:
        Worth in points per budget, [points, inputs].
    """
    at = (np.arange(points) + 0.5) / points
    base = np.array(budget.weighted_epochs(split))
    factors = np.array([budget.envelope.factor(float(u)) for u in at])  # [points]
    rates = budget.compute / np.array(budget.costs)  # epochs a budget
    step = 1e-3
    moved = base + step * factors[:, None, None] * np.diag(rates)  # [points, inputs, inputs]
    end = worth(posterior.losses(base[None]))  # [grid, 1]
    values = worth(posterior.losses(moved.reshape(-1, len(rates)))) - end
    mean, _ = posterior.moments(values)
    return (mean / step).reshape(points, len(rates))
