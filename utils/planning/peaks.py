"""Which peak rate: short, fully annealed runs from low to high until the held-out loss turns, refined once.

A plan with the wrong rate is a wrong plan: on small sets a factor of 4 moves more points than any split of the compute.
Divergence is an answer (an infinite loss), not an error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

MAX_HALVINGS = 3  # below the lowest factor named, where that is the best
# The best rate falls with the length of the training to this power: a short run stands for the budget at a higher rate.
# 0.32 in Bjorck et al., 2024, "Scaling optimal LR across token horizons"; 0.45 from 30 to 1,050 steps of
# benchmarks/budgets.py.
HORIZON = 0.3


def rate_at(length: float, *, of: float) -> float:
    """Return the best rate of a training of this length, as a factor of the best of one of another length."""
    return float((of / length) ** HORIZON)


@dataclass(frozen=True)
class PeakRule:
    """The order in which peaks are tried.

    Attributes:
        factors: Of the base learning rate, increasing; tried from the lowest on.
        tolerance: Losses this close are the same: the standard deviation of a difference of two runs.
        guess: Loss of who knows nothing. A run that ends above it has learned nothing, and is no worse than another.
    """

    factors: tuple[float, ...]
    tolerance: float = 0.0
    guess: float = math.inf

    @property
    def ladder(self) -> tuple[float, ...]:
        """All factors that may be tried before the refinement: those named, and some halvings below them."""
        return (*(self.factors[0] / 2**k for k in range(MAX_HALVINGS, 0, -1)), *self.factors)

    def next_factor(self, losses: Mapping[float, float]) -> float | None:
        """Return the next factor to try, None when the best is known.

        From low to high until the loss turns: until a factor is worse than the best by more than the tolerance, or
        diverged. Where the lowest is the best, by as much, halvings of it. Then, once, the geometric mean of the best
        and the better of its neighbours.

        Args:
            losses: Held-out loss of every factor tried so far; not finite: diverged.
        """
        tried = [factor for factor in self.ladder if factor in losses]
        ordered = [self._loss(losses, factor) for factor in tried]
        lowest = min(ordered, default=math.inf)
        turned = bool(tried) and (ordered[-1] > lowest + self.tolerance or ordered[-1] == math.inf)
        untried = [factor for factor in self.factors if factor not in losses]
        if untried and not turned:
            return untried[0]
        falls = all(loss > ordered[0] + self.tolerance for loss in ordered[1:])
        if (lowest == math.inf or falls) and tried[0] > self.ladder[0]:
            return tried[0] / 2
        if not self.has_learned(lowest) or len(losses) > len(tried):
            return None
        at = ordered.index(lowest)
        best = tried[at]
        neighbours = [*tried[max(0, at - 1) : at], *tried[at + 1 : at + 2]]
        other = min(neighbours, key=lambda factor: self._loss(losses, factor), default=best)
        return math.sqrt(best * other) if other != best and math.isfinite(losses[other]) else None

    def best(self, losses: Mapping[float, float]) -> float | None:
        """Return the factor to use: the middle one of those whose loss is within the tolerance of the lowest.

        Of an even number the lower of the two in the middle. Where no run has learned anything, nothing is known: the
        factor nearest to the written rate at which training did not diverge. None where every run diverged.
        """
        lowest = min((self._loss(losses, factor) for factor in losses), default=math.inf)
        if lowest == math.inf:
            return None
        same = [factor for factor in sorted(losses) if self._loss(losses, factor) <= lowest + self.tolerance]
        if not self.has_learned(lowest):
            return min(same, key=lambda factor: abs(math.log(factor)))
        return same[(len(same) - 1) // 2]

    def has_learned(self, loss: float) -> bool:
        """Return whether a loss, by more than the tolerance, is better than a guess."""
        return loss < self.guess - self.tolerance

    def _loss(self, losses: Mapping[float, float], factor: float) -> float:
        return min(losses[factor], self.guess) if math.isfinite(losses[factor]) else math.inf
