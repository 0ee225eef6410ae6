"""The studied policy: larger pilots and a check, for a plan that is used again. A pure function of what has been seen.

Planning is on top of the path's budget, up to a cap. Pilots of an eighth of the budget begin at every input. The split
that their posterior prefers, all at the goal, and the best split that is far from both are then trained at an eighth of
the budget, annealed to its end, and the two of them that the posterior then prefers at a quarter, as long as the cap
allows. A split that loses on a small budget may win on the whole one, so that only the comparison at a quarter, paired
by video, drops one by itself; else the posterior decides, which counts these runs as readouts.
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
    RunCheck,
    Seen,
    TrainPlan,
)

CHECK_RUNS = (1 / 8, 1 / 4)  # of the budget: runs of the check
PAIRED_FROM = 1 / 4  # of the budget: the smallest runs whose losses are compared by themselves
DROP_SIGMAS = 2.0  # standard deviations of the mean paired difference that drop a split
MIN_DISTANCE = 1 / 8  # of the compute: what must be spent otherwise by a split that is worth comparing
CHECK_PILOT = -1  # the number that readouts of checks have, which are of no pilot


@dataclass(frozen=True)
class StudiedPolicy(BudgetedPolicy):
    """Peak, pilots of every input, check, plan.

    Attributes:
        overhead: What planning may spend, in the unit of the budget.
    """

    overhead: float = math.inf

    def next_action(self, seen: Seen) -> Action:
        """Return what to do next."""
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

    def path_budget(self, seen: Seen) -> Budget:  # noqa: ARG002 - of the same name in a budgeted policy, where it counts
        """Return the budget: planning is on top of it."""
        return self.budget

    @property
    def pilots(self) -> dict[int, int]:
        """Input of every pilot, by its number: the goal's, then all from the shortest on."""
        goal = self.budget.goal
        return {GOAL_PILOT: goal} | {number + 1: number for number in range(goal)} if goal else {}

    @property
    def min_first(self) -> float:
        """Nothing: what goes on from no pilot begins anew, and has the compute for it."""
        return 0.0

    @property
    def lost_fraction(self) -> float:
        """Compute of pilots and branches as a fraction of the path's; one of the pilots may go on all the same."""
        return len(self.pilots) * self.pilot_fraction * (1 + BRANCH_COST)

    def posterior(self, seen: Seen) -> Posterior | None:
        """Return what readouts, checks and prior say."""
        shown = tuple(self._readout(check) for check in seen.checks)
        return super().posterior(replace(seen, readouts=(*seen.readouts, *shown)))

    def spent_on_pilots(self) -> float:
        """Return what pilots, branches and their readouts spend."""
        return self.lost_fraction * self.budget.compute + len(self.pilots) * len(READ_AT) * self.readout

    def eliminate(self, seen: Seen) -> tuple[list[Split], RunCheck | None]:
        """Return the splits that are left, the most promising one first, and the next run that the check needs.

        What the cap has no compute for falls away: the last of the splits, then the round and the one behind it.
        """
        left, spent = self._candidates(seen), self.spent_on_peaks(seen) + self.spent_on_pilots()
        for fraction in CHECK_RUNS:
            each = fraction * self.budget.compute + self.readout
            fitting = left[: max(0, int(min((self.overhead - spent) / each, len(left))))]
            if len(fitting) < 2:
                break
            left, spent = fitting, spent + len(fitting) * each
            shown = {check.split: check for check in seen.checks if check.fraction == fraction}
            missing = [split for split in left if split not in shown]
            if missing:
                return left, RunCheck(missing[0], fraction, self.factors(seen))
            known = replace(seen, checks=tuple(check for check in seen.checks if check.fraction <= fraction))
            left = self._keep([shown[split] for split in left], known)
        return left, None

    def _candidates(self, seen: Seen) -> list[Split]:
        """Return the split that pilots prefer, all at the goal, and the best that is far from both."""
        posterior = self.posterior(replace(seen, checks=()))
        if posterior is None:
            return []
        plan = self.choose(posterior, self.budget)
        found = list(dict.fromkeys((plan.chosen.split, self.budget.goal_only)))
        far = (each.split for each in plan.table if all(_distance(each.split, other) > MIN_DISTANCE for other in found))
        return [*found, *itertools.islice(far, 1)]

    def _keep(self, shown: Sequence[Check], known: Seen) -> list[Split]:
        """Return the two of a round that promise most by what is known then; one where the other has surely lost."""
        finite = [check for check in shown if check.losses]
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
        """Return a run of the check as the law sees it: a whole path of a part of the budget."""
        part = replace(self.budget, compute=check.fraction * self.budget.compute)
        mean, sd = mean_loss(check.losses)
        return Readout(CHECK_PILOT, check.fraction, part.weighted_epochs(check.split), mean, sd)


def mean_loss(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean of videos' losses and its standard deviation; NaN of none."""
    count = len(losses)
    return (float(np.mean(losses)), float(np.std(losses)) / math.sqrt(count)) if count else (math.nan, math.nan)


def paired_difference(first: Check, second: Check) -> tuple[float, float]:
    """Return the mean of the difference of two runs' losses, video by video, and its standard deviation.

    That is of the videos drawn and, as every split is trained once, of the runs. NaN where they have not scored the
    same number of videos: one has diverged, or a video could not be read.
    """
    if len(first.losses) != len(second.losses):
        return math.nan, math.nan
    mean, sd = mean_loss(np.subtract(first.losses, second.losses).tolist())
    return mean, math.sqrt(sd**2 + 2 * RUN_SD**2)


def _distance(one: Split, other: Split) -> float:
    """Return the compute that two splits spend at other inputs."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2
