"""What a budgeted search trains, as jobs: a run of a peak, a pilot, the path of the plan."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.config import RunConfig
from utils.planning.budget import Budget
from utils.planning.policy import RunPilot, TryPeak
from utils.search.budgeted_events import (
    BudgetedEvent,
    BudgetedHistory,
    InputCosts,
    PeakScore,
    PilotEnd,
    PilotReadout,
    read_history,
)
from utils.search.budgeted_plan import InputSteps, Slice, Stop, peak_record, pilot_slices
from utils.search.budgeted_runs import BudgetedParts, HeldoutLoss, Runs, Watch
from utils.search.jobs import Job
from utils.search.result import SEARCH_FOLDER
from utils.search.reuse import identify_reused
from utils.search.setup import identify_search
from utils.training.engine import DivergedError

RUN = "run"  # folder of the plan's training
NOTHING = HeldoutLoss(math.nan, math.nan, 0.0)


@dataclass(frozen=True)
class Trial:
    """A run of a peak or a pilot.

    Attributes:
        action: Which.
        path: What is left for the path.
        attempt: Times that pilots have begun anew.
        inputs: What every input costs.
    """

    action: TryPeak | RunPilot
    path: Budget
    attempt: int
    inputs: tuple[InputSteps, ...]

    @property
    def name(self) -> str:
        """What its job is called, and the folder of a peak's run."""
        action = self.action
        if isinstance(action, TryPeak):
            return f"peak-{action.input}-{action.factor:.4g}"
        return f"pilot-{action.number}-{self.attempt}"

    def events(self, history: BudgetedHistory) -> Sequence[BudgetedEvent]:
        """Return what a history has of it."""
        action = self.action
        if isinstance(action, TryPeak):
            return [peak for peak in history.peaks() if (peak.input, peak.factor) == (action.input, action.factor)]
        return history.of_pilot(action.number, attempt=self.attempt)


@dataclass(frozen=True)
class PathTask:
    """The path of the plan, and the slice that it begins with ("": there is none)."""

    record: RunConfig
    begin: str


@dataclass(frozen=True)
class MeasureTask:
    """The measurement of what the inputs cost."""


def has_ended(events: Sequence[BudgetedEvent]) -> bool:
    """Return whether the events of a trial are all there are."""
    return bool(events) and isinstance(events[-1], PeakScore | PilotEnd)


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
            self._try_peak(trial.action, trial.name)
        else:
            self._run_pilot(trial, trial.action, known)

    def _try_peak(self, action: TryPeak, name: str) -> None:
        record, inputs = peak_record(self._config, action, self._inputs), self._inputs
        watch, steps = Watch(), round(record.states[0].epochs * inputs[action.input].per_epoch)
        try:
            found = self._runs.train_peak(record, name)
        except DivergedError:
            found = NOTHING
        compute = steps * inputs[action.input].compute
        self._note(
            PeakScore(action.input, action.factor, **vars(found), steps=steps, compute=compute, seconds=watch.lap())
        )
        self._runs.remove(name)

    def _run_pilot(self, trial: Trial, action: RunPilot, known: Sequence[BudgetedEvent]) -> None:
        pieces = pilot_slices(self._config, action, path=trial.path, inputs=self._inputs, attempt=trial.attempt)
        start = ""
        for piece in pieces:
            self._log.info(f"pilot {piece.name}: {piece.stops[-1].step} steps of input {piece.input}")
            try:
                self._run_slice(piece, known, start=start, pilot=action.number)
            except DivergedError as error:
                self._log.info(f"pilot {piece.name}: {error}")
                self._note(PilotEnd(action.number, action.factors, piece.input))
                return
            start = piece.name
        self._note(PilotEnd(action.number, action.factors))

    def _run_slice(self, piece: Slice, events: Sequence[BudgetedEvent], *, start: str, pilot: int) -> None:
        known = {(event.state, event.step) for event in events if isinstance(event, PilotReadout)}
        run, watch = self._runs.train_slice(piece, start), Watch()
        for stop in piece.stops:
            is_known = (piece.state, stop.step) in known
            if run.done < stop.step or (run.done == stop.step and not is_known):
                weights = run.train(stop)
                if not is_known:
                    self._note(_readout(self._runs.read_out(weights), piece, stop, pilot=pilot, seconds=watch.lap()))
            if run.done == stop.step:
                run.leave()
        run.close()


def _readout(found: HeldoutLoss, piece: Slice, stop: Stop, *, pilot: int, seconds: float) -> PilotReadout:
    if math.isnan(found.loss):
        raise DivergedError("the held-out loss is NaN or infinite")
    return PilotReadout(pilot, piece.state, stop.step, stop.at, stop.weighted, **vars(found), seconds=seconds)
