"""Run a budgeted search: peak rates, pilots and the plan, which is trained to its end.

The next action is decided by `utils.planning.policy` from the journal alone, so a search that is killed at any point
continues to the same plan. A record of the best path so far is on the disk from the start.
"""

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from utils import distributed
from utils.config import RunConfig
from utils.errors import UserError
from utils.files import write_text_atomically
from utils.jsonl import as_json, write_lines
from utils.planning.policy import Action, BudgetedPolicy, RunPilot, TrainPlan
from utils.sealed import write_sealed_json
from utils.search.budgeted_events import (
    BudgetedEvent,
    BudgetedHistory,
    CheckScore,
    PeakScore,
    PilotReadout,
    Planned,
    read_history,
)
from utils.search.budgeted_growth import adopt_budget, given_budget
from utils.search.budgeted_page import render_budgeted_page
from utils.search.budgeted_plan import InputSteps, describe_budget, make_policy, path_record, pilot_name
from utils.search.budgeted_report import build_report
from utils.search.budgeted_runs import BudgetedParts, Runs
from utils.search.budgeted_trials import RUN, MeasureTask, PathTask, Trial, TrialAction, has_ended, identify, run_job
from utils.search.dispatch import is_coordinator, open_dispatcher
from utils.search.events import End, write_event
from utils.search.jobs import Dispatcher, Job, Work
from utils.search.journal import SearchJournal
from utils.search.output import record_path, write_path_record
from utils.search.result import JOURNAL_FILE, SEARCH_FOLDER, SEARCH_JSON, SEARCH_PAGE
from utils.search.reuse import read_prior
from utils.search.run import finish_path
from utils.training.checkpoint import load_checkpoint
from utils.training.epoch_lines import EPOCHS_FILE, read_epochs
from utils.training.run import open_run
from utils.training.run_folder import save_config


def plan_budget(
    config: RunConfig, make_parts: Callable[[RunConfig, torch.device], BudgetedParts], *, force: bool
) -> None:
    """Run a budgeted search, or continue it from its journal.

    Args:
        config: The search record.
        make_parts: Returns the parts of the search, given the record and a device.
        force: Whether to move an earlier search aside and start over.
    """
    if not is_coordinator(config):
        return
    work = Work(config, make_parts, run_job, identify)
    with distributed.session() as device:
        parts = make_parts(config, device)
        if not config.search.budget.hours:  # raises errors of the record before anything is written
            make_policy(config, parts.inputs, scoring_videos=len(parts.search.scoring))
        with open_run(config, "search", force=force) as log:
            journal = open_journal(config, identify(config, parts))
            adopt_budget(config, journal, with_measured_costs(parts.inputs, journal.history), log=log)
            distributed.decide_on_main(lambda: save_config(config))
            BudgetedSearch(work, parts, journal=journal, log=log).run()


def open_journal(config: RunConfig, identity: Mapping[str, Any]) -> SearchJournal[BudgetedHistory]:
    """Open the journal of a budgeted search, or create it."""
    path = config.run_dir / SEARCH_FOLDER / JOURNAL_FILE
    return SearchJournal(path, identity, read=lambda lines, source: read_history(lines, source=source, first=2))


def with_measured_costs(inputs: tuple[InputSteps, ...], history: BudgetedHistory) -> tuple[InputSteps, ...]:
    """Return the inputs with costs in seconds if those were measured, else unchanged."""
    if history.costs is None:
        return inputs
    counted = zip(inputs, history.costs.step_seconds, strict=True)
    return tuple(replace(steps, compute=seconds) for steps, seconds in counted)


def _read_events(name: str, dispatcher: Dispatcher) -> list[BudgetedEvent]:
    """Return the events in the file of a job."""
    return read_history(dispatcher.read_events(name), source=f"{name}.jsonl, line", first=2).events


class BudgetedSearch:
    """Executes the actions of the policy and records their results in the journal."""

    def __init__(
        self,
        work: Work,
        parts: BudgetedParts,
        *,
        journal: SearchJournal[BudgetedHistory],
        log: logging.Logger,
    ) -> None:
        """Initialize the search.

        Args:
            work: What jobs need in other processes.
            parts: The parts of the search.
            journal: The journal, which the search continues from.
            log: The log.
        """
        self._work, self._parts, self._journal, self._log = work, parts, journal, log
        self._config, self._folder = work.config, work.config.run_dir / SEARCH_FOLDER
        self._inputs = parts.inputs

    @functools.cached_property
    def _policy(self) -> BudgetedPolicy:
        videos = len(self._parts.search.scoring)
        policy = make_policy(self._config, self._inputs, scoring_videos=videos, first_budget=self._first_budget)
        tau_scale = policy.budget.tau_scale
        return replace(policy, prior=distributed.decide_on_main(lambda: read_prior(self._config, tau_scale=tau_scale)))

    @property
    def _first_budget(self) -> float:
        """Compute of the search's first budget."""
        given = given_budget(self._config, self._inputs)
        return (self._history.budgets or [given])[0].compute

    @property
    def _history(self) -> BudgetedHistory:
        return self._journal.history

    def run(self) -> None:
        """Run until the plan is trained and all results are written."""
        if self._history.has_ended and distributed.decide_on_main(self._config.weights_path.exists):
            self._log.info(f"the search is complete: {record_path(self._config)}")
            return
        self._log.info(f"{self._config.name}: {self._parts.search.describe_device()}")
        if self._config.search.budget.hours:
            self._inputs = self._measure()
        for line in describe_budget(self._config, self._policy, self._inputs):
            self._log.info(line)
        self._train_plan(self._make_plan())

    def _measure(self) -> tuple[InputSteps, ...]:
        """Return the inputs with costs in seconds, measured once, by all processes that will train the path."""
        if self._history.costs is None:
            with open_dispatcher(self._work, self._parts, workers=1, note=self._append, log=self._log) as dispatcher:
                dispatcher.run(Job("costs", MeasureTask()))
                for event in _read_events("costs", dispatcher):
                    self._append(event)
                dispatcher.forget("costs")
        return with_measured_costs(self._parts.inputs, self._history)

    def _append(self, event: BudgetedEvent) -> None:
        """Append an event to the journal, the budget before the first one."""
        if not self._history.budgets:
            self._journal.append(given_budget(self._config, self._inputs))
        self._journal.append(event)

    def _make_plan(self) -> TrainPlan:
        """Run peaks, pilots and all other actions of the policy until there is a plan."""
        self._write()
        runs = Runs(self._config, self._parts, folder=self._folder, log=self._log)
        with self._open_dispatcher(self._config.search.workers) as dispatcher:
            while True:
                actions = distributed.decide_on_main(
                    lambda: self._policy.next_actions(self._history.observations(), 2 * dispatcher.workers)
                )
                if isinstance(actions[0], TrainPlan):
                    dispatcher.forget_all()
                    for kind in ("peak-*", "check-*", "*-branch*"):  # speculative runs, or remains of a kill
                        for folder in sorted(self._folder.glob(kind)):
                            runs.remove(folder.name)
                    return actions[0]
                self._refuse_diverged(actions[0])
                self._run_actions([action for action in actions if not isinstance(action, TrainPlan)], dispatcher)

    def _open_dispatcher(self, workers: int) -> contextlib.AbstractContextManager[Dispatcher]:
        return open_dispatcher(self._work, self._parts, workers=workers, note=self._note, log=self._log)

    def _refuse_diverged(self, action: Action) -> None:
        """Raise UserError if an action is a pilot at rates that have diverged before: no lower rates are left."""
        diverged = [pilot.factors for pilot in self._history.diverged_pilots()]
        if isinstance(action, RunPilot) and action.factors in diverged:
            raise UserError(
                f"{self._config.name}: training diverged at every rate that was tried; lower "
                "optimizer.base_learning_rate, or give search.peaks lower factors, with --force"
            )

    def _run_actions(self, actions: Sequence[TrialAction], dispatcher: Dispatcher) -> None:
        """Run actions in parallel until all events of the first are in the journal."""
        jobs = [self._job(action) for action in actions]
        first: Trial = jobs[0].task
        while True:
            for event in _read_events(first.name, dispatcher)[len(first.events(self._history)) :]:
                self._note(event)
            if has_ended(first.events(self._history)) and not dispatcher.is_running(first.name):
                dispatcher.forget(first.name)
                return
            ahead = [
                job
                for job in jobs[1:]
                if dispatcher.is_running(job.name) or not has_ended(_read_events(job.name, dispatcher))
            ]
            dispatcher.start([jobs[0], *ahead])
            dispatcher.wait()

    def _job(self, action: TrialAction) -> Job:
        path = self._policy.path_budget(self._history.observations())
        trial = Trial(action, path, self._history.attempt, self._inputs, self._first_budget)
        return Job(trial.name, trial, [as_json(write_event(event)) for event in trial.events(self._history)])

    def _note(self, event: BudgetedEvent) -> None:
        self._append(event)
        if isinstance(event, PeakScore | PilotReadout | CheckScore):
            self._log.info(self._describe(event))
        self._write()

    def _describe(self, event: PeakScore | PilotReadout | CheckScore) -> str:
        found = "diverged" if math.isnan(event.loss) else f"held-out loss {event.loss:.4f}, top-1 {event.top1:.2f}%"
        if isinstance(event, PilotReadout):
            return f"  {event.branch} steps of the goal after {event.at:.2%} of the path: {found}"
        if isinstance(event, CheckScore):
            split = ", ".join(f"{fraction:.1%}" for fraction in event.split)
            return f"check at {event.share:g} of the budget, {split} on the inputs: {found}"
        if not (math.isnan(event.loss) or self._policy.rule.has_learned(event.loss)):
            found += ": no better than chance"
        factor = event.factor * self._policy.scale
        rate = self._config.search.inputs[event.input].base_learning_rate * factor
        return f"peak of input {event.input}: rate {rate:.6g} (x{factor:.4g}), {event.steps} steps: {found}"

    def _train_plan(self, action: TrainPlan) -> None:
        planned = self._history.plan
        if planned is None:
            chosen, path = action.plan.chosen, self._policy.path_budget(self._history.observations())
            planned = Planned(chosen.split, chosen.gain, chosen.spread, action.factors, path.compute)
            self._append(planned)
            self._write()
        split = ", ".join(f"{fraction:.1%}" for fraction in planned.split)
        gain = f"expected gain over all at the goal {planned.gain:.2f} +- {planned.spread:.2f} points"
        self._log.info(f"plan: {split} of the compute on the inputs, short to long; {gain}")
        record = self._record(planned)
        pilot = None if self._history.observations().carried_over else self._policy.pilot_of(planned.split)
        task = PathTask(record, "" if pilot is None else pilot_name(pilot, attempt=self._history.attempt))
        with self._open_dispatcher(1) as dispatcher:
            dispatcher.run(Job(RUN, task))
            dispatcher.forget(RUN)
        content = distributed.decide_on_main(lambda: load_checkpoint(self._folder / RUN / "current.pth")[0])
        epochs = self._config.run_dir / EPOCHS_FILE
        distributed.decide_on_main(lambda: write_lines(epochs, read_epochs(self._folder / RUN)))
        finish_path(self._config, record, content["network"], parts=self._parts.search, journal=self._journal)
        self._journal.append(End())
        self._write()
        self._log.info(f"path: {record_path(self._config)}; weights: {self._config.weights_path}")

    def _record(self, planned: Planned) -> RunConfig:
        return path_record(
            self._config, planned.split, factors=planned.factors, compute=planned.compute, inputs=self._inputs
        )

    def _write(self) -> None:
        """Write the record of the best path so far, and the report."""

        def write() -> None:
            seen, goal = self._history.observations(), self._policy.budget.goal_only
            path = self._policy.path_budget(seen)
            planned = self._history.plan or Planned(goal, 0.0, 0.0, self._policy.factors(seen), path.compute)
            stage = "planned" if self._history.plan else "knows so far (all at the goal, at the best rate so far)"
            comments = [
                f"The path that train_3d_op.py {stage} from {self._config.name}.",
                f"{self._parts.search.selection.text}.",
            ]
            write_path_record(self._config, self._record(planned), comments=comments)
            report = build_report(self._config, self._history, policy=self._policy, planned=planned)
            write_sealed_json(self._config.run_dir / SEARCH_JSON, report.to_json())
            write_text_atomically(self._config.run_dir / SEARCH_PAGE, render_budgeted_page(report))

        distributed.decide_on_main(write)
