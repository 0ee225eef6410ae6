"""Find the peak learning rate with short, annealed runs, from low to high until the held-out loss rises, refined once.

The rate matters most: on small sets a factor of 4 changes the accuracy by more points than any split of the compute.
Divergence is a result (an infinite loss), not an error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

MAX_HALVINGS = 3  # of the lowest given factor, tried where that is the best
# The best rate is proportional to length ** -HORIZON, so a short run uses a higher rate than the budget it stands for.
# 0.32 in Bjorck et al., 2024, "Scaling optimal LR across token horizons"; 0.45 from 30 to 1,050 steps of
# benchmarks/budgets.py.
HORIZON = 0.3


def rate_at(length: float, *, of: float) -> float:
    """Return the best rate for a run of this length, as a factor of the best rate for a run of length `of`."""
    return float((of / length) ** HORIZON)


@dataclass(frozen=True)
class PeakRule:
    """Choose which peak rates to try and which one to use.

    Attributes:
        factors: Factors of the base learning rate, increasing; tried from the lowest on.
        tolerance: Losses that differ by no more than this count as equal: the standard deviation of the difference of
            two runs.
        chance_loss: Loss of a uniform prediction. Runs that end above it have learned nothing and count as equal.
    """

    factors: tuple[float, ...]
    tolerance: float = 0.0
    chance_loss: float = math.inf

    @property
    def ladder(self) -> tuple[float, ...]:
        """All factors that may be tried before the refinement: the given ones, and halvings of the lowest."""
        return (*(self.factors[0] / 2**k for k in range(MAX_HALVINGS, 0, -1)), *self.factors)

    def next_factor(self, losses: Mapping[float, float]) -> float | None:
        """Return the next factor to try, None when the best is known.

        Factors are tried from low to high until one is worse than the best by more than the tolerance, or diverges. If
        the lowest is the best by that margin, or all diverged, it is halved. Finally the geometric mean of the best and
        the better of its neighbors is tried once.

        Args:
            losses: Held-out loss of each factor tried so far; not finite: diverged.
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
        neighbors = [*tried[max(0, at - 1) : at], *tried[at + 1 : at + 2]]
        other = min(neighbors, key=lambda factor: self._loss(losses, factor), default=best)
        return math.sqrt(best * other) if other != best and math.isfinite(losses[other]) else None

    def best(self, losses: Mapping[float, float]) -> float | None:
        """Return the factor to use: the median of those whose loss is within the tolerance of the lowest.

        Of an even number the lower median is taken. If no run has learned anything, return the factor nearest to 1 that
        did not diverge; if all runs diverged, None.
        """
        lowest = min((self._loss(losses, factor) for factor in losses), default=math.inf)
        if lowest == math.inf:
            return None
        same = [factor for factor in sorted(losses) if self._loss(losses, factor) <= lowest + self.tolerance]
        if not self.has_learned(lowest):
            return min(same, key=lambda factor: abs(math.log(factor)))
        return same[(len(same) - 1) // 2]

    def has_learned(self, loss: float) -> bool:
        """Return whether a loss is better than chance by more than the tolerance."""
        return loss < self.chance_loss - self.tolerance

    def _loss(self, losses: Mapping[float, float], factor: float) -> float:
        return min(losses[factor], self.chance_loss) if math.isfinite(losses[factor]) else math.inf
