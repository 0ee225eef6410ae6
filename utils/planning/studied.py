"""The studied policy: larger pilots and a check, for a plan that is used repeatedly. A pure function of the results.

Planning comes on top of the path's budget, up to a cap. Pilots of an eighth of the budget are run at every input. Then
the check trains complete, annealed paths: three splits at an eighth of the budget (the one that the posterior prefers,
all at the goal, and the best split that differs enough from both), and the two of them that the posterior then prefers
at a quarter, as far as the cap allows. A split that loses on a small budget may win on the whole one, so only the
comparison at a quarter, paired by video, drops a split directly; otherwise the posterior decides, with these runs as
further readouts.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from utils.planning.budget import RISK, Budget, Split, weigh_splits
from utils.planning.law import RUN_SD, Posterior, Readout
from utils.planning.policy import (
    BRANCH_COST,
    GOAL_PILOT,
    READ_AT,
    Action,
    BudgetedPolicy,
    Check,
    Observations,
    RunCheck,
    TrainPlan,
)

CHECK_RUNS = (1 / 8, 1 / 4)  # compute of a run in each round of the check, as a fraction of the budget
PAIRED_FROM = 1 / 4  # smallest runs whose paired losses can drop a split directly, as a fraction of the budget
DROP_SIGMAS = 2.0  # a split is dropped if the mean paired difference exceeds this many standard deviations
MIN_DISTANCE = 1 / 8  # fraction of the compute that a third split must spend differently to be worth comparing
CHECK_PILOT = -1  # pilot number in readouts of checks, which belong to no pilot


@dataclass(frozen=True)
class StudiedPolicy(BudgetedPolicy):
    """Plan in four stages: peaks, a pilot at each input, check, plan.

    Attributes:
        overhead: Most compute that planning may spend, in the unit of the budget.
    """

    overhead: float = math.inf

    def next_action(self, seen: Observations) -> Action:
        """Return the next action."""
        action = self.next_trial(seen)
        if action is not None:
            return action
        left, check = self.eliminate(seen)
        if check is not None:
            return check
        posterior = self.posterior(seen)
        plan = self.choose(posterior, self.budget)
        if left and posterior is not None:
            plan = replace(plan, chosen=weigh_splits(posterior, self.budget, left[:1])[0])
        return TrainPlan(plan, self.factors(seen), posterior)

    def path_budget(self, seen: Observations) -> Budget:  # noqa: ARG002 - overrides a method that uses it
        """Return the whole budget: planning comes on top of it."""
        return self.budget

    @property
    def pilots(self) -> dict[int, int]:
        """Input of each pilot, by its number: the goal first, then the others from the shortest on."""
        goal = self.budget.goal
        return {GOAL_PILOT: goal} | {number + 1: number for number in range(goal)} if goal else {}

    @property
    def min_first(self) -> float:
        """Zero: a path that continues no pilot starts from scratch, as planning is not paid from its budget."""
        return 0.0

    @property
    def lost_fraction(self) -> float:
        """Compute of all pilots and branches as a fraction of the path's; the path may still continue one of them."""
        return len(self.pilots) * self.pilot_fraction * (1 + BRANCH_COST)

    def posterior(self, seen: Observations) -> Posterior | None:
        """Return the posterior given readouts, checks and prior, or None as in `BudgetedPolicy`."""
        of_checks = tuple(self._readout(check) for check in seen.checks)
        return super().posterior(replace(seen, readouts=(*seen.readouts, *of_checks)))

    def spent_on_pilots(self) -> float:
        """Return the compute of all pilots, branches and their readouts."""
        return self.lost_fraction * self.budget.compute + len(self.pilots) * len(READ_AT) * self.readout

    def eliminate(self, seen: Observations) -> tuple[list[Split], RunCheck | None]:
        """Return the remaining splits, the most promising first, and the next run of the check (None: it has ended).

        Splits that the cap has no compute for are left out, the last first; a round with fewer than two splits ends the
        check.
        """
        left, spent = self._candidates(seen), self.spent_on_peaks(seen) + self.spent_on_pilots()
        for fraction in CHECK_RUNS:
            each = fraction * self.budget.compute + self.readout
            fitting = left[: max(0, int(min((self.overhead - spent) / each, len(left))))]
            if len(fitting) < 2:
                break
            left, spent = fitting, spent + len(fitting) * each
            done = {check.split: check for check in seen.checks if check.fraction == fraction}
            missing = [split for split in left if split not in done]
            if missing:
                return left, RunCheck(missing[0], fraction, self.factors(seen))
            known = replace(seen, checks=tuple(check for check in seen.checks if check.fraction <= fraction))
            left = self._keep([done[split] for split in left], known)
        return left, None

    def _candidates(self, seen: Observations) -> list[Split]:
        """Return the split preferred after the pilots, all at the goal, and the best that differs enough from both."""
        posterior = self.posterior(replace(seen, checks=()))
        if posterior is None:
            return []
        plan = self.choose(posterior, self.budget)
        found = list(dict.fromkeys((plan.chosen.split, self.budget.goal_only)))
        far = (each.split for each in plan.table if all(_distance(each.split, other) > MIN_DISTANCE for other in found))
        return [*found, *itertools.islice(far, 1)]

    def _keep(self, done: Sequence[Check], known: Observations) -> list[Split]:
        """Return the two most promising splits of a round, or one if it beats the other significantly.

        Args:
            done: Results of the round.
            known: All results up to this round.
        """
        finite = [check for check in done if check.losses]
        if len(finite) == 2 and finite[0].fraction >= PAIRED_FROM:
            mean, sd = paired_difference(*finite)
            if abs(mean) > DROP_SIGMAS * sd:
                return [finite[mean > 0].split]
        posterior = self.posterior(known)
        splits = [check.split for check in finite]
        if posterior is None:
            return splits[:2]
        weighed = weigh_splits(posterior, self.budget, splits)
        promise = {each.split: each.gain - RISK * each.spread for each in weighed}
        return sorted(splits, key=lambda split: (promise[split], split[-1]), reverse=True)[:2]

    def _readout(self, check: Check) -> Readout:
        """Return a run of the check as a readout of the law: a whole path on a fraction of the budget."""
        part = replace(self.budget, compute=check.fraction * self.budget.compute)
        mean, sd = mean_loss(check.losses)
        return Readout(CHECK_PILOT, check.fraction, part.weighted_epochs(check.split), mean, sd)


def mean_loss(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the videos' losses and its standard error; NaN for no losses."""
    count = len(losses)
    return (float(np.mean(losses)), float(np.std(losses)) / math.sqrt(count)) if count else (math.nan, math.nan)


def paired_difference(first: Check, second: Check) -> tuple[float, float]:
    """Return the mean difference of two runs' losses, paired by video, and its standard deviation.

    The standard deviation covers the draw of the videos and, because each split is trained only once, the variation
    between runs. Both are NaN if the runs have scored different numbers of videos: one diverged, or a video could not
    be read.
    """
    if len(first.losses) != len(second.losses):
        return math.nan, math.nan
    mean, sd = mean_loss(np.subtract(first.losses, second.losses).tolist())
    return mean, math.sqrt(sd**2 + 2 * RUN_SD**2)


def _distance(one: Split, other: Split) -> float:
    """Return the fraction of the compute that two splits spend on different inputs."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2
