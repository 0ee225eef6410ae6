"""Plan a budget inside the training it is for: the peak rates, two pilots, the plan, and the plan trained to its end.

What comes next is decided by `utils.planning.policy` from the journal alone, so a search that is killed anywhere goes
on to the same plan. The record of the best path that is known is on the disk from the beginning on.
"""

import logging
import math
from collections.abc import Callable

import torch

from utils import distributed
from utils.config import RunConfig
from utils.config.load import own_sections
from utils.config.record import render_record
from utils.errors import UserError
from utils.files import write_text_atomically
from utils.jsonl import read_lines, write_lines
from utils.planning.policy import BudgetedPolicy, RunPilot, TrainPlan, TryPeak
from utils.sealed import write_sealed_json
from utils.search.budgeted_events import (
    BudgetedHistory,
    PeakScore,
    PilotEnd,
    PilotReadout,
    Planned,
    read_history,
    write_event,
)
from utils.search.budgeted_page import render_budgeted_page
from utils.search.budgeted_plan import (
    Slice,
    describe_budget,
    first_slice,
    make_policy,
    path_record,
    peak_record,
    pilot_slices,
)
from utils.search.budgeted_report import build_report
from utils.search.budgeted_runs import BudgetedParts, HeldoutLoss, Runs, Watch
from utils.search.events import End, FinalScore
from utils.search.journal import SearchJournal
from utils.search.output import record_path
from utils.search.result import JOURNAL_FILE, SEARCH_FOLDER, SEARCH_JSON, SEARCH_PAGE
from utils.search.run import identify_search
from utils.training.checkpoint import CLASS_NAMES, Position, save_checkpoint
from utils.training.engine import DivergedError
from utils.training.epoch_lines import ANEW, EPOCHS_FILE
from utils.training.run import open_run
from utils.training.run_folder import save_config

RUN = "run"  # folder of the plan's training
NOTHING = HeldoutLoss(math.nan, math.nan, 0.0)


def plan_budget(
    config: RunConfig, make_parts: Callable[[RunConfig, torch.device], BudgetedParts], *, force: bool
) -> None:
    """Plan and train from wherever the journal stands.

    Args:
        config: The record, of search.policy budgeted.
        make_parts: Returns what the search is made of, on a device.
        force: An earlier search is moved aside, not continued.
    """
    with distributed.session() as device:
        parts = make_parts(config, device)
        policy = make_policy(config, parts.inputs, scoring_videos=len(parts.search.scoring))
        with open_run(config, "search", force=force) as log:
            journal = SearchJournal(
                config.run_dir / SEARCH_FOLDER / JOURNAL_FILE,
                identify_search(config, parts.search),
                read=lambda lines, source: read_history(lines, source=source, first=2),
                write=write_event,
            )
            distributed.decide_on_main(lambda: save_config(config))
            BudgetedSearch(config, parts, policy=policy, journal=journal, log=log).run()


class BudgetedSearch:
    """A budgeted search at work: takes the policy's actions, and notes in the journal what they show."""

    def __init__(
        self,
        config: RunConfig,
        parts: BudgetedParts,
        *,
        policy: BudgetedPolicy,
        journal: SearchJournal[BudgetedHistory],
        log: logging.Logger,
    ) -> None:
        """Take over the parts of a search."""
        self._config, self._parts, self._policy, self._journal, self._log = config, parts, policy, journal, log
        self._runs = Runs(config, parts, folder=config.run_dir / SEARCH_FOLDER, log=log)

    @property
    def _history(self) -> BudgetedHistory:
        return self._journal.history

    def run(self) -> None:
        """Go on until the plan is trained and everything is written."""
        if self._history.has_ended and distributed.decide_on_main(self._config.weights_path.exists):
            self._log.info(f"the search is complete: {record_path(self._config)}")
            return
        self._log.info(f"{self._config.name}: {self._parts.search.describe_device()}")
        for line in describe_budget(self._config, self._policy, self._parts.inputs):
            self._log.info(line)
        while True:
            self._write()
            action = distributed.decide_on_main(lambda: self._policy.next_action(self._history.seen()))
            if isinstance(action, TryPeak):
                self._try_peak(action)
            elif isinstance(action, RunPilot):
                self._run_pilot(action)
            else:
                break
        self._train_plan(action)

    def _try_peak(self, action: TryPeak) -> None:
        record = peak_record(self._config, action, self._parts.inputs)
        name = f"peak-{action.input}-{action.factor:.4g}"
        watch, steps = Watch(), round(record.states[0].epochs * self._parts.inputs[action.input].per_epoch)
        try:
            found = self._runs.train_peak(record, name)
        except DivergedError:
            found = NOTHING
        compute = steps * self._parts.inputs[action.input].compute
        score = PeakScore(action.input, action.factor, **vars(found), steps=steps, compute=compute, seconds=watch.lap())
        self._journal.append(score)
        self._runs.remove(name)
        said = "diverged" if math.isnan(found.loss) else f"held-out loss {found.loss:.4f}, top-1 {found.top1:.2f}%"
        rate = record.states[0].base_learning_rate
        self._log.info(f"peak of input {action.input}: rate {rate:g} (x{action.factor:.4g}), {steps} steps: {said}")

    def _run_pilot(self, action: RunPilot) -> None:
        retreats = self._history.retreats()
        if any(retreat.factors == action.factors for retreat in retreats):
            raise UserError(
                f"{self._config.name}: training diverged at every rate that was tried; lower "
                "optimizer.base_learning_rate, or give search.peaks lower factors, with --force"
            )
        path = self._policy.path_budget(self._history.seen())
        pieces = pilot_slices(self._config, action, path=path, inputs=self._parts.inputs, attempt=len(retreats))
        start = ""
        for piece in pieces:
            self._log.info(f"pilot {piece.name}: {piece.stops[-1].step} steps of input {piece.input}")
            try:
                self._run_slice(piece, start=start, pilot=action.number)
            except DivergedError as error:
                self._log.info(f"pilot {piece.name}: {error}")
                self._journal.append(PilotEnd(action.number, action.factors, piece.input))
                return
            start = piece.name
        self._journal.append(PilotEnd(action.number, action.factors))

    def _run_slice(self, piece: Slice, *, start: str, pilot: int) -> None:
        known = {(readout.pilot, readout.state, readout.step) for readout in self._history.readouts()}
        run, watch = self._runs.train_slice(piece, start), Watch()
        for stop in piece.stops:
            is_known = (pilot, piece.state, stop.step) in known
            if run.done < stop.step or (run.done == stop.step and not is_known):
                weights = run.train(stop)
                if not is_known:
                    self._note_readout(self._runs.read_out(weights), piece, pilot=pilot, number=stop.step, watch=watch)
            if run.done == stop.step:
                run.leave()
        run.close()

    def _note_readout(self, found: HeldoutLoss, piece: Slice, *, pilot: int, number: int, watch: Watch) -> None:
        if math.isnan(found.loss):
            raise DivergedError("the held-out loss is NaN or infinite")
        stop = next(stop for stop in piece.stops if stop.step == number)
        seconds = watch.lap()
        self._journal.append(
            PilotReadout(pilot, piece.state, stop.step, stop.at, stop.weighted, **vars(found), seconds=seconds)
        )
        self._log.info(f"  at {stop.at:.2%} of the path: held-out loss {found.loss:.4f}, top-1 {found.top1:.2f}%")
        self._write()

    def _train_plan(self, action: TrainPlan) -> None:
        planned = self._history.plan
        if planned is None:
            chosen, path = action.plan.chosen, self._policy.path_budget(self._history.seen())
            planned = Planned(chosen.split, chosen.gain, chosen.spread, action.factors, path.compute)
            self._journal.append(planned)
            self._write()
        shares = ", ".join(f"{share:.1%}" for share in planned.split)
        gain = f"expected gain over all at the goal {planned.gain:.2f} +- {planned.spread:.2f} points"
        self._log.info(f"plan: {shares} of the compute on the inputs, short to long; {gain}")
        record = self._record(planned)
        begin = first_slice(planned.split)
        content = self._runs.train_plan(record, RUN, begin=begin and f"{begin}-{len(self._history.retreats())}")
        distributed.decide_on_main(lambda: self._save(record, content["network"]))
        if self._history.test is None:
            score = self._parts.search.make_tester(self._parts.search.make_network(content["network"])).evaluate()
            self._journal.append(FinalScore(self._config.dataset.eva_list_file, **vars(score)))
        self._journal.append(End())
        self._write()
        self._log.info(f"path: {record_path(self._config)}; weights: {self._config.weights_path}")

    def _save(self, record: RunConfig, weights: dict[str, torch.Tensor]) -> None:
        """Write the weights at the end of the plan, and the epochs that led to them, as this record's own."""
        parts, folder = self._parts.search, self._config.run_dir
        about = {"config": record.to_dict(), "list_sha256": parts.training.sha256, CLASS_NAMES: list(parts.class_names)}
        epochs = read_lines(folder / SEARCH_FOLDER / RUN / EPOCHS_FILE, anew=ANEW)
        write_lines(folder / EPOCHS_FILE, epochs)
        position = Position(state=len(record.states))
        save_checkpoint(self._config.weights_path, {"network": weights, **about}, position=position)

    def _best_known(self) -> Planned:
        """Return the plan, or until there is one all at the goal, at the best rate so far."""
        seen, goal = self._history.seen(), self._policy.budget.goal_only
        path = self._policy.path_budget(seen)
        return self._history.plan or Planned(goal, 0.0, 0.0, self._policy.factors(seen), path.compute)

    def _record(self, planned: Planned) -> RunConfig:
        return path_record(
            self._config, planned.split, factors=planned.factors, compute=planned.compute, inputs=self._parts.inputs
        )

    def _write(self) -> None:
        """Write the record of the best path that is known, and the report."""

        def write() -> None:
            planned = self._best_known()
            record = self._record(planned)
            sections = own_sections(record)
            del sections["search"]
            stage = "planned" if self._history.plan else "knows so far (all at the goal, at the best rate so far)"
            comments = [
                f"The path that train_3d_op.py {stage} from {self._config.name}.",
                f"{self._parts.search.selection.text}.",
            ]
            write_text_atomically(
                record_path(self._config), render_record(sections, base=self._config.base, comments=comments)
            )
            report = build_report(
                self._config,
                self._history,
                policy=self._policy,
                planned=planned,
                path_record=record_path(self._config).name,
            )
            write_sealed_json(self._config.run_dir / SEARCH_JSON, report.to_json())
            write_text_atomically(self._config.run_dir / SEARCH_PAGE, render_budgeted_page(report))

        distributed.decide_on_main(write)
