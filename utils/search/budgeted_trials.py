"""The jobs of a budgeted search: peak runs, pilots, runs of the check, and the path of the plan."""

import logging
import time
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
from utils.search.budgeted_runs import BudgetedParts, HeldoutLoss, Runs
from utils.search.jobs import Job
from utils.search.result import SEARCH_FOLDER
from utils.search.reuse import identify_reused
from utils.search.setup import identify_search
from utils.training.engine import DivergedError

RUN = "run"  # folder of the path's training
TrialAction = TryPeak | RunPilot | RunCheck


@dataclass(frozen=True)
class Trial:
    """A peak run, a pilot, or a run of the check.

    Attributes:
        action: The policy's action.
        path: Budget of the path.
        attempt: Number of restarts of all pilots so far.
        inputs: Steps and costs of each input.
        first_budget: Compute of the search's first budget.
    """

    action: TrialAction
    path: Budget
    attempt: int
    inputs: tuple[InputSteps, ...]
    first_budget: float

    @property
    def name(self) -> str:
        """Name of the job and of its folder."""
        action = self.action
        if isinstance(action, TryPeak):
            return f"peak-{action.input}-{action.factor:.4g}"
        if isinstance(action, RunCheck):
            return f"check-{action.fraction:g}-of-{'-'.join(f'{fraction:g}' for fraction in action.split)}"
        return pilot_name(action.number, attempt=self.attempt)

    def events(self, history: BudgetedHistory) -> Sequence[BudgetedEvent]:
        """Return the events of this trial in a history."""
        action = self.action
        if isinstance(action, TryPeak):
            return [peak for peak in history.peaks() if (peak.input, peak.factor) == (action.input, action.factor)]
        if isinstance(action, RunCheck):
            wanted = action.split, action.fraction
            return [check for check in history.checks() if (check.split, check.share) == wanted]
        return history.of_pilot(action.number, attempt=self.attempt)


@dataclass(frozen=True)
class PathTask:
    """The training of the plan's path.

    Attributes:
        record: The record of the path.
        begin: Name of the pilot that the path continues; "": none.
    """

    record: RunConfig
    begin: str


@dataclass(frozen=True)
class MeasureTask:
    """The measurement of the cost of the inputs."""


def has_ended(events: Sequence[BudgetedEvent]) -> bool:
    """Return whether the events of a trial are complete."""
    return bool(events) and isinstance(events[-1], PeakScore | PilotEnd | CheckScore)


def identify(config: RunConfig, parts: BudgetedParts) -> dict[str, object]:
    """Return the identity of a budgeted search."""
    return identify_search(config, parts.search) | identify_reused(config)


def run_job(
    config: RunConfig, parts: BudgetedParts, job: Job, note: Callable[[BudgetedEvent], None], log: logging.Logger
) -> None:
    """Run a job of a budgeted search (`run_job` of `utils.search.jobs.Work`)."""
    runs = Runs(config, parts, folder=config.run_dir / SEARCH_FOLDER, log=log)
    known = read_history(job.known, source=f"{job.name}, event", first=1).events
    if isinstance(job.task, MeasureTask):
        if not known:
            note(InputCosts(parts.measure()))
    elif isinstance(job.task, PathTask):
        runs.train_plan(job.task.record, RUN, begin=job.task.begin)
    elif not has_ended(known):
        _TrialRunner(config, job.task, runs, note, log).run(known)


@dataclass(frozen=True)
class _TrialRunner:
    """Runs a trial and reports its events to `note`."""

    config: RunConfig
    trial: Trial
    runs: Runs
    note: Callable[[BudgetedEvent], None]
    log: logging.Logger

    def run(self, known: Sequence[BudgetedEvent]) -> None:
        """Run the rest of the trial after its known events."""
        action = self.trial.action
        if isinstance(action, RunPilot):
            self._run_pilot(action, known)
        else:
            self.note(self._try_peak(action) if isinstance(action, TryPeak) else self._check(action))
            self.runs.remove(self.trial.name)

    def _try_peak(self, action: TryPeak) -> PeakScore:
        began, own = time.perf_counter(), self.trial.inputs[action.input]
        record = peak_record(self.config, action, self.trial.inputs, first_budget=self.trial.first_budget)
        steps = round(record.states[0].epochs * own.per_epoch)
        found = self._train(self.runs.train_short, record)
        spent = {"compute": steps * own.compute, "seconds": time.perf_counter() - began}
        return PeakScore(action.input, action.factor, found.loss, found.sd, found.top1, steps=steps, **spent)

    def _check(self, action: RunCheck) -> CheckScore:
        began, record = time.perf_counter(), check_record(self.config, action, self.trial.inputs)
        found = self._train(self.runs.train_check, record)
        losses, seconds = tuple(round(loss, 6) for loss in found.losses), time.perf_counter() - began
        return CheckScore(action.split, action.fraction, found.loss, found.sd, found.top1, losses, seconds)

    def _train(self, train: Callable[[RunConfig, str], HeldoutLoss], record: RunConfig) -> HeldoutLoss:
        """Return the held-out loss after a run, without losses if training diverged."""
        try:
            return train(record, self.trial.name)
        except DivergedError:
            return HeldoutLoss()

    def _run_pilot(self, action: RunPilot, known: Sequence[BudgetedEvent]) -> None:
        trial = self.trial
        pilot = make_pilot(self.config, action, path=trial.path, inputs=trial.inputs, attempt=trial.attempt)
        read = {event.step for event in known if isinstance(event, PilotReadout)}
        self.log.info(f"{pilot.name}: {pilot.branches[-1].begin} steps of input {action.input}")
        for branch in pilot.branches:
            began, number = time.perf_counter(), action.input
            try:
                if branch.begin not in read:
                    self.runs.train_pilot(pilot, branch.begin)
                    number = len(trial.inputs) - 1
                    self.note(self._read(action, pilot, branch, began=began))
            except DivergedError as error:
                self.log.info(f"{pilot.name}: input {number}: {error}")
                self.runs.remove(branch.name)
                self.note(PilotEnd(action.number, action.factors, number, self._spent(action, pilot, branch)))
                return
            self.runs.remove(branch.name)
        self.note(PilotEnd(action.number, action.factors))

    def _read(self, action: RunPilot, pilot: Pilot, branch: Branch, *, began: float) -> PilotReadout:
        """Train a branch and return its readout."""
        found = self.runs.train_short(branch.record, branch.name, start=pilot.name)
        position = branch.begin, branch.steps, branch.at, branch.weighted
        scores, spent = (found.loss, found.sd, found.top1), self._spent(action, pilot, branch)
        return PilotReadout(action.number, *position, *scores, compute=spent, seconds=time.perf_counter() - began)

    def _spent(self, action: RunPilot, pilot: Pilot, branch: Branch) -> float:
        """Return the compute of a pilot and its branches up to the end of a branch."""
        inputs = self.trial.inputs
        branches = sum(each.steps for each in pilot.branches if each.begin <= branch.begin)
        return branch.begin * inputs[action.input].compute + branches * inputs[-1].compute
