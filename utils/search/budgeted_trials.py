"""What a budgeted search trains, as jobs: a run of a peak, a pilot, a run of the check, the path of the plan."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.config import RunConfig
from utils.planning.budget import Budget
from utils.planning.policy import RunCheck, RunPilot, TryPeak
from utils.search.budgeted_events import (
    BudgetedEvent,
    BudgetedHistory,
    CheckScore,
    InputCosts,
    PeakScore,
    PilotEnd,
    PilotReadout,
    read_history,
)
from utils.search.budgeted_plan import Branch, InputSteps, Pilot, check_record, make_pilot, peak_record, pilot_name
from utils.search.budgeted_runs import BudgetedParts, HeldoutLoss, Runs, Watch
from utils.search.jobs import Job
from utils.search.result import SEARCH_FOLDER
from utils.search.reuse import identify_reused
from utils.search.setup import identify_search
from utils.training.engine import DivergedError

RUN = "run"  # folder of the plan's training
Trying = TryPeak | RunPilot | RunCheck


@dataclass(frozen=True)
class Trial:
    """A run of a peak, a pilot, or a run of the check.

    Attributes:
        action: Which.
        path: What is left for the path.
        attempt: Times that pilots have begun anew.
        inputs: What every input costs.
        first: Compute of the budget that the search began with.
    """

    action: Trying
    path: Budget
    attempt: int
    inputs: tuple[InputSteps, ...]
    first: float

    @property
    def name(self) -> str:
        """What its job is called, and its folder."""
        action = self.action
        if isinstance(action, TryPeak):
            return f"peak-{action.input}-{action.factor:.4g}"
        if isinstance(action, RunCheck):
            return f"check-{action.share:g}-of-{'-'.join(f'{share:g}' for share in action.split)}"
        return pilot_name(action.number, attempt=self.attempt)

    def events(self, history: BudgetedHistory) -> Sequence[BudgetedEvent]:
        """Return what a history has of it."""
        action = self.action
        if isinstance(action, TryPeak):
            return [peak for peak in history.peaks() if (peak.input, peak.factor) == (action.input, action.factor)]
        if isinstance(action, RunCheck):
            return [check for check in history.checks() if (check.split, check.share) == (action.split, action.share)]
        return history.of_pilot(action.number, attempt=self.attempt)


@dataclass(frozen=True)
class PathTask:
    """The path of the plan, and the pilot that it begins with ("": there is none)."""

    record: RunConfig
    begin: str


@dataclass(frozen=True)
class MeasureTask:
    """The measurement of what the inputs cost."""


def has_ended(events: Sequence[BudgetedEvent]) -> bool:
    """Return whether the events of a trial are all there are."""
    return bool(events) and isinstance(events[-1], PeakScore | PilotEnd | CheckScore)


def identify(config: RunConfig, parts: BudgetedParts) -> dict[str, object]:
    """Return what a budgeted search is a search of."""
    return identify_search(config, parts.search) | identify_reused(config)


def perform(
    config: RunConfig, parts: BudgetedParts, job: Job, note: Callable[[BudgetedEvent], None], log: logging.Logger
) -> None:
    """Train what a job asks for: `utils.search.jobs.Work`."""
    runs = Runs(config, parts, folder=config.run_dir / SEARCH_FOLDER, log=log)
    known = read_history(job.known, source=f"{job.name}, event", first=1).events
    if isinstance(job.task, MeasureTask):
        if not known:
            note(InputCosts(parts.measure()))
    elif isinstance(job.task, PathTask):
        runs.train_plan(job.task.record, RUN, begin=job.task.begin)
    elif not has_ended(known):
        _Trials(config, job.task.inputs, runs=runs, note=note, log=log).perform(job.task, known)


class _Trials:
    """Performs trials."""

    def __init__(
        self,
        config: RunConfig,
        inputs: Sequence[InputSteps],
        *,
        runs: Runs,
        note: Callable[[BudgetedEvent], None],
        log: logging.Logger,
    ) -> None:
        self._config, self._inputs, self._runs, self._note, self._log = config, inputs, runs, note, log

    def perform(self, trial: Trial, known: Sequence[BudgetedEvent]) -> None:
        """Perform a trial of which these events are known."""
        if isinstance(trial.action, TryPeak):
            self._try_peak(trial, trial.action)
        elif isinstance(trial.action, RunCheck):
            self._check(trial.action, trial.name)
        else:
            self._run_pilot(trial, trial.action, known)

    def _try_peak(self, trial: Trial, action: TryPeak) -> None:
        name, inputs = trial.name, self._inputs
        record = peak_record(self._config, action, inputs, first=trial.first)
        watch, steps = Watch(), round(record.states[0].epochs * inputs[action.input].per_epoch)
        try:
            found = self._runs.train_short(record, name)
        except DivergedError:
            found = HeldoutLoss()
        compute, seen = steps * inputs[action.input].compute, (found.loss, found.sd, found.top1)
        self._note(PeakScore(action.input, action.factor, *seen, steps=steps, compute=compute, seconds=watch.lap()))
        self._runs.remove(name)

    def _check(self, action: RunCheck, name: str) -> None:
        watch, record = Watch(), check_record(self._config, action, self._inputs)
        try:
            found = self._runs.train_check(record, name)
        except DivergedError:
            found = HeldoutLoss()
        losses = tuple(round(loss, 6) for loss in found.losses)
        seen = found.loss, found.sd, found.top1
        self._note(CheckScore(action.split, action.share, *seen, losses=losses, seconds=watch.lap()))
        self._runs.remove(name)

    def _run_pilot(self, trial: Trial, action: RunPilot, known: Sequence[BudgetedEvent]) -> None:
        pilot = make_pilot(self._config, action, path=trial.path, inputs=self._inputs, attempt=trial.attempt)
        read = {event.step for event in known if isinstance(event, PilotReadout)}
        self._log.info(f"{pilot.name}: {pilot.branches[-1].begin} steps of input {action.input}")
        for branch in pilot.branches:
            watch, place = Watch(), action.input
            try:
                if branch.begin not in read:
                    self._runs.train_pilot(pilot, branch.begin)
                    place = len(self._inputs) - 1
                    self._note(self._read(action, pilot, branch, watch))
            except DivergedError as error:
                self._log.info(f"{pilot.name}: input {place}: {error}")
                self._runs.remove(branch.name)
                self._note(PilotEnd(action.number, action.factors, place))
                return
            self._runs.remove(branch.name)
        self._note(PilotEnd(action.number, action.factors))

    def _read(self, action: RunPilot, pilot: Pilot, branch: Branch, watch: Watch) -> PilotReadout:
        """Train a branch, and return what it shows."""
        found = self._runs.train_short(branch.record, branch.name, start=pilot.name)
        place = branch.begin, branch.steps, branch.at, branch.weighted
        branches = sum(each.steps for each in pilot.branches if each.begin <= branch.begin)
        compute = branch.begin * self._inputs[action.input].compute + branches * self._inputs[-1].compute
        seen = found.loss, found.sd, found.top1
        return PilotReadout(action.number, *place, *seen, compute=compute, seconds=watch.lap())
