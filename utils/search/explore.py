"""Explore the transitions of a search by training them: the torch side of `utils.planning.search`.

A transition is a function of (start weights, state, seed): it starts with a fresh optimizer at a constant rate, and its
random draws are seeded by its place on the path, exactly as train_3d.py seeds the states of a record. A record of the
path therefore trains to the very same weights where the search trained on the same videos.

What is on the disk, in output/<record>/search/: the weights of each state or transition that something still needs
(at most one file for each state and each transition into the state in question), and for the transition being trained
one weight file for each of its epochs, as any of them may still become the knee (at most min(max_epochs, horizon)), and
one checkpoint to continue from. All are removed as soon as nothing needs them.

Order of an epoch: checkpoint, then journal. A process killed between the two finds the score in the checkpoint.
"""

import dataclasses
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils import distributed
from utils.config import RunConfig
from utils.planning.graph import INITIAL, State, Transition
from utils.planning.search import Outcome, trained
from utils.planning.search import Path as Steps
from utils.search.events import DECISION, SCORE, edge_events, edge_scores, find_decision, make_rule
from utils.search.journal import Journal, open_journal
from utils.search.progress import describe_epoch
from utils.training.checkpoint import CheckpointError, Position, load_checkpoint, save_checkpoint
from utils.training.engine import DivergedError, EpochTotals, Learner, QuickScore
from utils.training.precision import precision_name
from utils.training.state import StateTrainer

Weights = dict[str, torch.Tensor]
MakeTrainer = Callable[[RunConfig, int, nn.Module, str], StateTrainer]


class SearchJournal:
    """The journal as all ranks see it: rank 0 writes it, every rank holds the same events."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Open or begin the journal of a search; see `utils.search.journal.open_journal`."""
        self._journal: Journal | None = None
        if distributed.is_main():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = open_journal(path, identity)
        self.events = distributed.broadcast_object(list(self._journal.events) if self._journal else [])

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event; on rank 0 the disk has it when this returns."""
        if self._journal is not None:
            self._journal.append(event)
        self.events.append(dict(event))


class EdgeRecord:
    """What the transition in training leaves on the disk; rank 0 writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = []  # its scores so far

    @property
    def checkpoint(self) -> Path:
        """Where to continue from."""
        return self.folder / "current.pth"

    def weights(self, epoch: int) -> Path:
        """Where the weights after an epoch are."""
        return self.folder / f"epoch_{epoch:03d}.pth"

    def read(self) -> tuple[dict[str, Any] | None, Position]:
        """Return the checkpoint to continue from (None: begin) and its position, the same on every rank."""
        path = self.checkpoint
        found = load_checkpoint(path) if distributed.is_main() and path.exists() else (None, Position())
        return distributed.broadcast_object(found)

    def save(self, learner: Learner, position: Position, totals: EpochTotals | None) -> None:
        """Write the checkpoint to continue from."""
        if distributed.is_main():
            content = {
                **learner.state_dict(),
                "totals": dataclasses.asdict(totals) if totals is not None else None,
                "events": self.events,
            }
            save_checkpoint(self.checkpoint, content, position=position)

    def save_epoch(self, learner: Learner, position: Position, *, horizon: int) -> None:
        """Keep the weights of a complete epoch, where it may be a knee, then the checkpoint."""
        if distributed.is_main() and position.epoch <= horizon:
            save_checkpoint(self.weights(position.epoch), {"network": learner.result()}, position=position)
        self.save(learner, position, None)


class EdgeExplorer:
    """`explore` and `arrive` of `utils.planning.search.search`: trains a transition, or looks it up in the journal."""

    def __init__(
        self,
        config: RunConfig,
        *,
        journal: SearchJournal,
        folder: Path,
        make_network: Callable[[Weights | None], nn.Module],
        make_trainer: MakeTrainer,
        log: logging.Logger,
        report: Callable[[], None],
    ) -> None:
        """Wire the explorer.

        Args:
            config: The search record.
            journal: Its journal.
            folder: Where weights are kept while the search runs.
            make_network: Returns the network with these weights; None: the weights the search starts from.
            make_trainer: Returns the trainer of a state of a record, from the network as it is; the last argument is
                the title of its progress bar.
            log: For one line an epoch.
            report: Called on rank 0 after every epoch and decision.
        """
        self.config, self.journal, self.folder = config, journal, folder
        self.make_network, self.make_trainer, self.log, self.report = make_network, make_trainer, log, report
        self.graph, self.rule = config.graph, make_rule(config)
        self._outcomes: dict[Transition, Outcome] = {}
        self._best: dict[State, Steps] = {}
        self._keep_initial_weights()

    def _keep_initial_weights(self) -> None:
        """Write the weights the search starts from, once: a pretrained file may be gone when the search continues."""
        path = self.folder / "initial.pth"
        if distributed.is_main() and not path.exists():
            save_checkpoint(path, {"network": self.make_network(None).state_dict()}, position=Position())

    def __call__(self, transition: Transition, path: Steps) -> Outcome:
        """Return the outcome of a transition from the weights its start state has kept."""
        decision = find_decision(self.journal.events, transition)
        if decision is None:
            decision = self._train(transition, path)
            self.journal.append(decision)
            self._log_decision(transition, decision)
            self._report()
        value = -math.inf if decision["value"] is None else decision["value"]
        weights = self._record(transition).weights(decision["epoch"]) if decision["epoch"] else self.weights_path(path)
        self._outcomes[transition] = Outcome(value, decision["epoch"], weights)
        self._release()
        return self._outcomes[transition]

    def arrive(self, state: State, path: Steps) -> None:
        """Note the best way into a state and remove the weights of the others."""
        self._best[state] = path
        self._release()

    def weights_path(self, path: Steps) -> Path:
        """Return the file with the weights at the end of a path."""
        return path[-1].outcome.weights if path else self.folder / "initial.pth"

    def read_weights(self, path: Steps) -> Weights:
        """Return the weights at the end of a path, the same on every rank."""
        return distributed.broadcast_object(
            load_checkpoint(self.weights_path(path))[0]["network"] if distributed.is_main() else {}
        )

    def _record(self, transition: Transition) -> EdgeRecord:
        names = [str(state).strip("()").replace(",", ".") for state in (transition.start, transition.end)]
        return EdgeRecord(self.folder / "-to-".join(names))

    def _train(self, transition: Transition, path: Steps) -> dict[str, Any]:
        """Train a transition until its knee is decided, or the rest of it; return the decision."""
        record = self._record(transition)
        content, position = record.read()
        network = self.make_network(self.read_weights(path) if content is None else content["network"])
        trainer = self.make_trainer(*self._place_on_path(transition, path), network, self._title(transition))
        totals = EpochTotals()
        record.events = [dict(event) for event in edge_events(self.journal.events, transition)]
        if content is None:
            position = Position(state=trainer.index)
            if len(record.events) > 1:
                raise self._lost(record)
            self.log.info(f"{self._title(transition)}: {trainer.describe_setting()}")
        else:
            if len(content["events"]) < len(record.events):
                raise self._lost(record)
            for event in content["events"][len(record.events) :]:  # killed between the checkpoint and the journal
                self._append_score(record, event)
            trainer.learner.load_state_dict(content)
            totals = EpochTotals.of_rank(content["totals"])
            self.log.info(f"continuing {transition} after {position.epoch} epochs and {position.step} steps")
        if not record.events:
            self._append_score(record, self._score_start(trainer, transition))
        while (verdict := self._judge(transition)) is None:
            event = self._train_epoch(trainer, position, totals, record, transition)
            position, totals = position.next_epoch(), EpochTotals()
            record.events.append(event)
            record.save_epoch(trainer.learner, position, horizon=self.rule.horizon)
            self.journal.append(event)
            self.log.info(describe_epoch(self.config, self.journal.events, transition))
            self._report()
        return {
            "event": DECISION,
            "edge": str(transition),
            "verdict": verdict.kind,
            "epoch": verdict.epoch,
            "value": verdict.value if math.isfinite(verdict.value) else None,
        }

    def _report(self) -> None:
        if distributed.is_main():
            self.report()

    def _lost(self, record: EdgeRecord) -> CheckpointError:
        return CheckpointError(
            f"{record.checkpoint}: older than the journal {self.folder}, or gone; restore it, or use --force "
            "(FORCE=1 with run.sh) to move the search aside and start anew"
        )

    def _place_on_path(self, transition: Transition, path: Steps) -> tuple[RunConfig, int]:
        """Return the record of the path so far and this transition, and the transition's place in it."""
        states = [self.config.state_config(s.transition.end, epochs=s.outcome.epochs) for s in trained(path)]
        last = self.config.state_config(transition.end, epochs=self.config.search.max_epochs)
        return self.config.with_states([*states, last]), len(states)

    def _title(self, transition: Transition) -> str:
        order = self.graph.exploration_order
        return f"transition {order.index(transition) + 1}/{len(order)} {transition}"

    def _judge(self, transition: Transition) -> Any:
        scores = edge_scores(self.journal.events, transition)
        return distributed.broadcast_object(self.rule.judge(scores) if distributed.is_main() else None)

    def _append_score(self, record: EdgeRecord, event: dict[str, Any]) -> None:
        record.events.append(event)
        self.journal.append(event)

    def _score_start(self, trainer: StateTrainer, transition: Transition) -> dict[str, Any]:
        """Return point 0 of a curve: the score of the start weights; 0 from the initial state."""
        if transition.start == INITIAL:
            return self._score_event(transition, 0, score=None, scoring_seconds=0.0) | {"score": 0.0}
        began = time.perf_counter()
        score = trainer.evaluate()
        return self._score_event(transition, 0, score=score, scoring_seconds=time.perf_counter() - began)

    def _train_epoch(
        self, trainer: StateTrainer, position: Position, totals: EpochTotals, record: EdgeRecord, transition: Transition
    ) -> dict[str, Any]:
        """Train an epoch, or the rest of one, and score it; an epoch that diverges has no score."""
        epoch = position.epoch + 1
        try:
            totals = trainer.train_epoch(position, totals, record).merged()
            began = time.perf_counter()
            score = trainer.evaluate()
        except DivergedError as error:
            self.log.info(f"{transition}: {error}")
            return self._score_event(transition, epoch, score=None, scoring_seconds=0.0)
        for note in totals.notes:
            self.log.info(f"  {note}")
        return self._score_event(transition, epoch, score=score, scoring_seconds=time.perf_counter() - began) | {
            "clips": totals.clips,
            "seconds": totals.seconds,
            "train_loss": totals.loss_sum / totals.clips,
            "learning_rate": trainer.state.base_learning_rate,
            "precision": precision_name(trainer.learner.dtype),
            "clips_per_second": totals.clips / totals.seconds,
            "data_wait_share": totals.waiting / totals.seconds,
            "num_frames": trainer.state.num_frames,
            "skipped": totals.skipped,
        }

    def _score_event(
        self, transition: Transition, epoch: int, *, score: QuickScore | None, scoring_seconds: float
    ) -> dict[str, Any]:
        values = dataclasses.asdict(score) if score is not None else {}
        return {
            "event": SCORE,
            "edge": str(transition),
            "epoch": epoch,
            "score": values.get(self.config.search.metric),
            "clips": 0,
            "seconds": 0.0,
            "scored_clips": values.get("videos", 0),
            "scoring_seconds": scoring_seconds,
            **{f"eval_{name}": value for name, value in values.items()},
        }

    def _log_decision(self, transition: Transition, decision: Mapping[str, Any]) -> None:
        value = "none" if decision["value"] is None else f"{decision['value']:.2f}"
        self.log.info(
            f"{self._title(transition)}: {decision['verdict']}, knee at epoch {decision['epoch']}, score {value}"
        )

    def _release(self) -> None:
        """Remove the weights that nothing needs any more.

        Needed: the best weights of a state with transitions still to explore (or of the goal), the weights of every
        transition into a state that is not decided, and all of the transition that is trained next, which may have
        begun before a kill. While the journal is read back nothing is removed: what it says later is not known yet.
        """
        decided = sum(event["event"] == DECISION for event in self.journal.events)
        if not distributed.is_main() or len(self._outcomes) < decided:
            return
        needed = {self.folder / "initial.pth"}
        for state in self.graph.states:
            if state not in self._best:
                into = self.graph.incoming(state)
                needed |= {self._outcomes[t].weights for t in into if t in self._outcomes}
            elif state == self.graph.goal or any(t not in self._outcomes for t in self.graph.outgoing(state)):
                needed.add(self.weights_path(self._best[state]))
        order = self.graph.exploration_order
        begun = next((self._record(t).folder for t in order if t not in self._outcomes), None)
        for folder in (path for path in self.folder.iterdir() if path.is_dir() and path != begun):
            if not any(file in needed for file in folder.iterdir()):
                shutil.rmtree(folder)
                continue
            for file in folder.iterdir():
                if file not in needed:
                    file.unlink()
