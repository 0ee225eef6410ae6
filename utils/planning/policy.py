"""The budgeted policy: choose the next run as a pure function of the results so far.

1. Peaks: short annealed runs find the peak rate of the goal, then that of the shortest input, searched around it.
2. Pilots: two runs train the beginning of the path itself, under its envelope, one at the goal and one at the shortest
   input. A branch reads a pilot: a copy is trained further at the goal while its rate falls to zero, then discarded.
3. Plan: the readouts give a posterior over splits, and the pilot that the chosen split begins with continues as the
   path.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from utils.planning.budget import MIN_GOAL, Budget, Split, SplitPlan, choose_split
from utils.planning.law import Posterior, Readout, fit_posterior
from utils.planning.peaks import PeakRule

GOAL_PILOT, SHORT_PILOT = 0, 1
READ_AT = (0.5, 1.0)  # fractions of a pilot at which it is read
COOL_DOWN = 1 / 4  # compute of a branch, as a fraction of what its pilot has spent by then
BRANCH_COST = COOL_DOWN * sum(READ_AT)  # compute of all branches of a pilot, as a fraction of the pilot's


@dataclass(frozen=True)
class TryPeak:
    """Train a short run, annealed to zero, and measure the held-out loss on clips of its own input.

    Attributes:
        input: Index of the input.
        factor: Peak rate as a factor of the input's base learning rate, for the search's first budget.
        compute: Compute of the run, in the unit of the budget.
    """

    input: int
    factor: float
    compute: float


@dataclass(frozen=True)
class RunPilot:
    """Train the beginning of a path at one input, and read it at `READ_AT` by branches at the goal.

    Attributes:
        number: The pilot; in the budgeted policy `GOAL_PILOT` or `SHORT_PILOT`.
        input: Index of the input.
        until: Fraction of the path's compute at which the pilot ends.
        factors: Peak rate of each input, as a factor of its base learning rate.
    """

    number: int
    input: int
    until: float
    factors: tuple[float, ...]


@dataclass(frozen=True)
class TrainPlan:
    """Train the chosen split to its end, continuing the pilot that it begins with.

    Attributes:
        plan: The split, with its expected gain.
        factors: Peak rate of each input, as a factor of its base learning rate.
        posterior: The posterior that the split was chosen by; None: there was no evidence.
    """

    plan: SplitPlan
    factors: tuple[float, ...]
    posterior: Posterior | None = field(repr=False, compare=False)


@dataclass(frozen=True)
class RunCheck:
    """Train a split on a fraction of the budget, annealed to zero, and score it on the goal's clips.

    Attributes:
        split: Fractions of the run's compute for each input.
        fraction: Compute of the run as a fraction of the budget.
        factors: Peak rate of each input, as a factor of its base learning rate.
    """

    split: Split
    fraction: float
    factors: tuple[float, ...]


Action = TryPeak | RunPilot | RunCheck | TrainPlan


@dataclass(frozen=True)
class Check:
    """The result of a `RunCheck`.

    Attributes:
        split: Fractions of the run's compute for each input.
        fraction: Compute of the run as a fraction of the budget.
        losses: Held-out cross-entropy of each video on the goal's clip; empty: training diverged.
    """

    split: Split
    fraction: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Observations:
    """The results so far, in the order of the journal.

    Attributes:
        peaks: Held-out loss by input and factor (for the search's first budget); not finite: diverged.
        readouts: Readouts of the pilots.
        ended: Numbers of the pilots that have ended.
        carried_over: Those that ended under a smaller budget and led to its plan; they are not run again.
        lost: Compute of pilots before the last restart of all pilots (a larger budget, or a pilot that diverged).
        lost_readouts: Number of readouts of those pilots.
        checks: Results of the studied policy's check.
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
    """Plan in three stages: peaks, pilots, plan. All compute is in the unit of the budget.

    Attributes:
        budget: Everything that may be spent, planning included.
        rule: Which peaks are tried.
        peak_compute: Compute of one peak run.
        max_for_peaks: Most compute of all peak runs together, readouts included.
        pilot_fraction: Compute of one pilot as a fraction of the path's, and the least fraction of the first input in a
            path that does not begin at the goal; 0: no pilots, and the plan is all at the goal.
        min_goal: Smallest fraction of a path's compute at the goal.
        prior: Tempered posterior of earlier searches.
        readout: Compute of scoring a run once.
        scale: Factor from the best rate for the search's first budget to the best rate for this one.
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

    def next_action(self, seen: Observations) -> Action:
        """Return the next action."""
        action, posterior = self.next_trial(seen), self.posterior(seen)
        return action or TrainPlan(self.choose(posterior, self.path_budget(seen)), self.factors(seen), posterior)

    def next_trial(self, seen: Observations) -> TryPeak | RunPilot | None:
        """Return the next peak or pilot to run, None when all have ended."""
        if action := self._next_peak(seen):
            return action
        missing = [number for number in self.pilots if number not in seen.ended]
        if not missing:
            return None
        return RunPilot(missing[0], self.pilots[missing[0]], self.pilot_fraction, self.factors(seen))

    def choose(self, posterior: Posterior | None, path: Budget) -> SplitPlan:
        """Return the best split of a path's budget under a posterior (`choose_split`)."""
        return choose_split(posterior, path, min_goal=self.min_goal, min_first=self.min_first)

    @property
    def min_first(self) -> float:
        """Smallest fraction of the first input unless all is at the goal: a pilot's, as the path continues a pilot."""
        return self.pilot_fraction

    @property
    def pilots(self) -> dict[int, int]:
        """Input of each pilot, by its number; with a single input there is nothing to choose, hence no pilots."""
        return {GOAL_PILOT: self.budget.goal, SHORT_PILOT: 0} if self.pilot_fraction and self.budget.goal else {}

    def pilot_of(self, split: Split) -> int | None:
        """Return the number of the pilot that a path begins with, None if it begins with none."""
        first, fraction = next((number, fraction) for number, fraction in enumerate(split) if fraction > 0)
        begins = fraction >= self.pilot_fraction
        return next((pilot for pilot, place in self.pilots.items() if place == first and begins), None)

    def next_actions(self, seen: Observations, most: int) -> list[Action]:
        """Return the next action and actions that can run in parallel with it.

        The others are speculative: they follow if each peak run turns out better than all before it, and no pilot
        diverges. If not, their work is wasted, since `next_action` alone decides what is used.

        Args:
            seen: The results so far.
            most: Largest number of actions to return, at least 1.
        """
        actions = [self.next_action(seen)]
        while len(actions) < most:
            seen = self._expect(actions[-1], seen)
            following = self.next_action(seen)
            # A pilot uses the peaks that were found, so it cannot run beside a peak run; likewise a check.
            if not _run_together(actions[0], following):
                break
            actions.append(following)
        return actions

    def posterior(self, seen: Observations) -> Posterior | None:
        """Return the posterior given readouts and prior; None without a prior if no readout beats chance."""
        if self.prior is None and not any(self.rule.has_learned(readout.loss) for readout in seen.readouts):
            return None
        return fit_posterior(seen.readouts, tau_scale=self.path_budget(seen).tau_scale, prior=self.prior)

    def path_budget(self, seen: Observations) -> Budget:
        """Return the budget of the path: the whole less peak runs, readouts, branches and one pilot.

        One pilot continues as the path, the other is lost. All of this is deducted before the first pilot, so that
        pilots train under the envelope of the path.
        """
        left = self.budget.compute - self.spent_on_peaks(seen) - seen.lost - self.readout * seen.lost_readouts
        if self.pilots.keys() <= seen.carried_over:
            return replace(self.budget, compute=left)
        left -= self.readout * len(READ_AT) * len(self.pilots)
        return replace(self.budget, compute=left / (1 + self.lost_fraction))

    @property
    def lost_fraction(self) -> float:
        """Compute of all branches and all pilots but one, which the path does not contain, as a fraction of its own."""
        count = len(self.pilots)
        return self.pilot_fraction * (count - 1 + count * BRANCH_COST) if count else 0.0

    def spent_on_peaks(self, seen: Observations, *, more: int = 0) -> float:
        """Return the compute of all peak runs so far, and of `more` further ones, readouts included."""
        return (self.peak_compute + self.readout) * (more + sum(map(len, seen.peaks.values())))

    def factors(self, seen: Observations) -> tuple[float, ...]:
        """Return the peak factor of each input: its own best, else the goal's, else 1, the rate of the record."""
        bests = [self.rule.best(seen.peaks.get(number, {})) for number in range(len(self.budget.costs))]
        found = [None if best is None else best * self.scale for best in bests]
        fallback = 1.0 if found[-1] is None else found[-1]
        # Inputs in between use the shortest input's.
        shortest = fallback if found[0] is None else found[0]
        return (*(shortest if each is None else each for each in found[:-1]), fallback)

    def _expect(self, action: Action, seen: Observations) -> Observations:
        """Return the results after an action that ends well: a peak run better than all before, no divergence."""
        if isinstance(action, TryPeak):
            losses = seen.peaks.get(action.input, {})
            loss = min(filter(math.isfinite, losses.values()), default=0.0) - 2 * self.rule.tolerance - 1.0
            return replace(seen, peaks={**seen.peaks, action.input: {**losses, action.factor: loss}})
        if isinstance(action, RunCheck):
            return replace(seen, checks=(*seen.checks, Check(action.split, action.fraction, ())))
        return replace(seen, ended=seen.ended | {action.number}) if isinstance(action, RunPilot) else seen

    def _next_peak(self, seen: Observations) -> TryPeak | None:
        """Return the next peak run: at the goal by the rule, then at the shortest input around the goal's best."""
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
            return None  # twice the goal's best is better than the goal's best, so half of it is not tried
        return TryPeak(0, beside, self.peak_compute)


def _run_together(first: Action, following: Action) -> bool:
    """Return whether an action can run in parallel with the first one, which precedes it."""
    if isinstance(first, RunCheck) and isinstance(following, RunCheck):
        return first.fraction == following.fraction
    return type(first) is type(following) and not isinstance(first, TrainPlan)
