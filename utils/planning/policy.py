"""The budgeted policy: what to run next, as a pure function of what has been seen.

First the peak rate of the goal by short annealed runs, then of the shortest input around it; then two pilots that begin
the run itself, under its own envelope, one at the goal and one at the shortest input. They are read by branches: a copy
is trained on at the goal, its rate falling to zero, and thrown away. What that shows becomes a posterior over splits,
and the pilot that the plan begins with goes on as the run.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from utils.planning.budget import MIN_GOAL, Budget, Split, SplitPlan, choose_split
from utils.planning.law import Posterior, Readout, fit_posterior
from utils.planning.peaks import PeakRule

GOAL_PILOT, SHORT_PILOT = 0, 1
READ_AT = (0.5, 1.0)  # of a pilot, at which it is read
COOL_DOWN = 1 / 4  # of the compute that a pilot has spent: its branch there
BRANCH_COST = COOL_DOWN * sum(READ_AT)  # of a pilot's compute: all of its branches


@dataclass(frozen=True)
class TryPeak:
    """Train a short run, annealed to zero, and score it: the held-out loss at its own input's clip.

    Attributes:
        input: Number of the input.
        factor: Of the input's base learning rate, for the budget that the search began with.
        compute: What the run may spend.
    """

    input: int
    factor: float
    compute: float


@dataclass(frozen=True)
class RunPilot:
    """Train the beginning of a path at one input, and read it at `READ_AT` by branches at the goal.

    Attributes:
        number: `GOAL_PILOT` or `SHORT_PILOT`.
        input: Number of the input.
        until: Fraction of the path's compute at which the pilot ends.
        factors: Peak of every input.
    """

    number: int
    input: int
    until: float
    factors: tuple[float, ...]


@dataclass(frozen=True)
class TrainPlan:
    """Train the plan; the pilot that it begins with is its beginning.

    Attributes:
        plan: The split, with its expected gain.
        factors: Peak of every input.
        posterior: What the plan was chosen from, None where nothing was known.
    """

    plan: SplitPlan
    factors: tuple[float, ...]
    posterior: Posterior | None = field(repr=False, compare=False)


@dataclass(frozen=True)
class RunCheck:
    """Train a split of a part of the budget, annealed to its end, and score it at the goal's clip.

    Attributes:
        split: Shares of the run's compute.
        fraction: Fraction of the budget that the run may spend.
        factors: Peak of every input.
    """

    split: Split
    fraction: float
    factors: tuple[float, ...]


Action = TryPeak | RunPilot | RunCheck | TrainPlan


@dataclass(frozen=True)
class Check:
    """What such a run has shown.

    Attributes:
        split: Shares of the run's compute.
        fraction: Fraction of the budget that the run may spend.
        losses: Held-out cross-entropy of every video at the goal's clip; none: training diverged.
    """

    split: Split
    fraction: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Seen:
    """What has been seen, in the order of the journal.

    Attributes:
        peaks: Held-out loss by input and factor, for the budget that the search began with; not finite: diverged.
        readouts: Of every pilot that has ended.
        ended: Numbers of these pilots.
        carried_over: Those of them that ended under a smaller budget and had led to its plan: they are not run again.
        lost: What pilots have spent before all began anew: under smaller budgets, or because one diverged.
        lost_readouts: How many readouts were taken of those.
        checks: Of the studied policy.
    """

    peaks: Mapping[int, Mapping[float, float]] = field(default_factory=dict)
    readouts: tuple[Readout, ...] = ()
    ended: frozenset[int] = frozenset()
    carried_over: frozenset[int] = frozenset()
    lost: float = 0.0
    lost_readouts: int = 0
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class BudgetedPolicy:
    """Peak, pilots, plan.

    Attributes:
        budget: Everything that may be spent, planning included.
        rule: Which peaks are tried.
        peak_compute: What one annealed run of a peak spends.
        max_for_peaks: What all of them may spend together, readouts included.
        pilot_fraction: Fraction of the path's compute of one pilot; 0: there are none, and the plan is all at the goal.
            A path that begins with another input than the goal has so much of it at least.
        min_goal: Smallest fraction of the goal's input.
        prior: Of an earlier search, tempered.
        readout: What scoring a run once spends.
        scale: What a rate that was found for the budget that the search began with is for this one.
    """

    budget: Budget
    rule: PeakRule
    peak_compute: float
    max_for_peaks: float
    pilot_fraction: float = 1 / 32
    min_goal: float = MIN_GOAL
    prior: Posterior | None = None
    readout: float = 0.0
    scale: float = 1.0

    def next_action(self, seen: Seen) -> Action:
        """Return what to do next."""
        action, posterior = self.next_trial(seen), self.posterior(seen)
        return action or TrainPlan(self.choose(posterior, self.path_budget(seen)), self.factors(seen), posterior)

    def next_trial(self, seen: Seen) -> TryPeak | RunPilot | None:
        """Return the next peak or pilot, None where all have ended."""
        if action := self._next_peak(seen):
            return action
        missing = [number for number in self.pilots if number not in seen.ended]
        if not missing:
            return None
        return RunPilot(missing[0], self.pilots[missing[0]], self.pilot_fraction, self.factors(seen))

    def choose(self, posterior: Posterior | None, path: Budget) -> SplitPlan:
        """Return the split of a budget that is best by what is known."""
        return choose_split(posterior, path, min_goal=self.min_goal, min_first=self.min_first)

    @property
    def min_first(self) -> float:
        """Smallest fraction of the first input where not all is at the goal: a pilot, as its end is what goes on."""
        return self.pilot_fraction

    @property
    def pilots(self) -> dict[int, int]:
        """Input of every pilot, by its number; one input leaves nothing to choose and has none."""
        return {GOAL_PILOT: self.budget.goal, SHORT_PILOT: 0} if self.pilot_fraction and self.budget.goal else {}

    def pilot_of(self, split: Split) -> int | None:
        """Return the pilot that a path begins with, None where it begins with none of them."""
        first, fraction = next((number, fraction) for number, fraction in enumerate(split) if fraction > 0)
        begins = fraction >= self.pilot_fraction
        return next((pilot for pilot, place in self.pilots.items() if place == first and begins), None)

    def next_actions(self, seen: Seen, most: int) -> list[Action]:
        """Return the next action and those that can run at the same time, `most` together.

        Those behind the first are what comes next where every run of a peak before them is better than all so far, and
        no pilot diverges. Where it turns out otherwise they were for nothing: what is done with them is decided by
        `next_action` alone.
        """
        actions = [self.next_action(seen)]
        while len(actions) < most:
            seen = self._expect(actions[-1], seen)
            following = self.next_action(seen)
            # A pilot is at the peaks that are found: it cannot begin while one is looked for. So with checks.
            if not _run_together(actions[0], following):
                break
            actions.append(following)
        return actions

    def posterior(self, seen: Seen) -> Posterior | None:
        """Return what readouts and prior say, None where nothing: no prior, and nothing learned that beats a guess."""
        if self.prior is None and not any(self.rule.has_learned(readout.loss) for readout in seen.readouts):
            return None
        return fit_posterior(seen.readouts, tau_scale=self.path_budget(seen).tau_scale, prior=self.prior)

    def path_budget(self, seen: Seen) -> Budget:
        """Return what is left for the path: the budget less the peaks' runs, readouts, branches and a pilot.

        One pilot goes on as the run, the other is lost. All of this is set aside before the first pilot, so that the
        envelope of the pilots is that of the run.
        """
        left = self.budget.compute - self.spent_on_peaks(seen) - seen.lost - self.readout * seen.lost_readouts
        if self.pilots.keys() <= seen.carried_over:
            return replace(self.budget, compute=left)
        left -= self.readout * len(READ_AT) * len(self.pilots)
        return replace(self.budget, compute=left / (1 + self.lost_fraction))

    @property
    def lost_fraction(self) -> float:
        """Compute of the pilots that is not the run's, as a fraction of the path's: all branches and a pilot."""
        count = len(self.pilots)
        return self.pilot_fraction * (count - 1 + count * BRANCH_COST) if count else 0.0

    def spent_on_peaks(self, seen: Seen, *, more: int = 0) -> float:
        """Return what the peaks' runs, and some `more`, spend with their readouts."""
        return (self.peak_compute + self.readout) * (more + sum(map(len, seen.peaks.values())))

    def factors(self, seen: Seen) -> tuple[float, ...]:
        """Return the peak of every input: its own best, else that of the goal, else the rate as it is written."""
        bests = [self.rule.best(seen.peaks.get(number, {})) for number in range(len(self.budget.costs))]
        found = [None if best is None else best * self.scale for best in bests]
        fallback = 1.0 if found[-1] is None else found[-1]
        # An input between has what the shortest has found.
        shortest = fallback if found[0] is None else found[0]
        return (*(shortest if each is None else each for each in found[:-1]), fallback)

    def _expect(self, action: Action, seen: Seen) -> Seen:
        """Return what will have been seen where an action ends well."""
        if isinstance(action, TryPeak):
            losses = seen.peaks.get(action.input, {})
            loss = min(filter(math.isfinite, losses.values()), default=0.0) - 2 * self.rule.tolerance - 1.0
            return replace(seen, peaks={**seen.peaks, action.input: {**losses, action.factor: loss}})
        if isinstance(action, RunCheck):
            return replace(seen, checks=(*seen.checks, Check(action.split, action.fraction, ())))
        return replace(seen, ended=seen.ended | {action.number}) if isinstance(action, RunPilot) else seen

    def _next_peak(self, seen: Seen) -> TryPeak | None:
        """Return the next peak to try: the goal's by the rule, then the shortest input's beside the goal's best."""
        if self.spent_on_peaks(seen, more=1) > self.max_for_peaks:
            return None
        goal = self.budget.goal
        factor = self.rule.next_factor(seen.peaks.get(goal, {}))
        if factor is not None:
            return TryPeak(goal, factor, self.peak_compute)
        best = self.rule.best(seen.peaks.get(goal, {}))
        if goal == 0 or best is None:
            return None
        tried = seen.peaks.get(0, {})
        beside = next((each for each in (best, 2 * best, best / 2) if each not in tried), None)
        if beside is None or (beside < best and tried[2 * best] < tried[best]):
            return None  # twice the goal's is better: half of it is not tried
        return TryPeak(0, beside, self.peak_compute)


def _run_together(first: Action, following: Action) -> bool:
    """Return whether an action can run while the first one, which comes before it, still does."""
    if isinstance(first, RunCheck) and isinstance(following, RunCheck):
        return first.fraction == following.fraction
    return type(first) is type(following) and not isinstance(first, TrainPlan)
