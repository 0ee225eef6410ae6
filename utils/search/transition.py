"""Train one transition of a search until the knee of its curve is decided.

A transition is a function of (start weights, state, seed): it starts with a fresh optimizer at a constant rate, and its
random draws are seeded by its place on the path, exactly as train_3d.py seeds the states of a record. A record of the
path therefore trains to the very same weights where the search trained on the same videos.

Order of an epoch: checkpoint, then journal. A process killed between the two finds the score in the checkpoint.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from utils import distributed
from utils.config import RunConfig
from utils.planning.graph import INITIAL, Transition
from utils.planning.knee import Verdict
from utils.planning.search import Path as Steps
from utils.planning.search import trained
from utils.search.events import EpochScore, make_rule, read_history, write_event
from utils.search.jobs import Job
from utils.search.result import SEARCH_FOLDER
from utils.search.search_log import title_of
from utils.search.setup import SearchParts, identify_search
from utils.search.weights import WeightFolder
from utils.training.checkpoint import CheckpointError, Position
from utils.training.engine import DivergedError, EpochTotals, Learner
from utils.training.state import StateTrainer, checkpoint_content, describe_training, restore


def train_transition(
    config: RunConfig, parts: SearchParts, job: Job, note: Callable[[EpochScore], None], log: logging.Logger
) -> None:
    """Train the transition of a job from the end of its path, until it is decided.

    Args:
        config: The search record.
        parts: What the search is made of.
        job: Its task is the transition and the path.
        note: Takes the points of its curve.
        log: The log.
    """
    transition, path = job.task
    folder = config.run_dir / SEARCH_FOLDER
    weights = WeightFolder(folder, config.graph, identity=identify_search(config, parts), say=log.info)
    curve = read_history(job.known, config.graph, source=f"{job.name}, event").curve(transition)
    TransitionTrainer(config, parts, note=note, weights=weights, log=log)(transition, path, curve)


@dataclass
class TransitionRecord:
    """What the transition in training leaves on the disk; rank 0 writes.

    Attributes:
        transition: Which.
        weights: Where its files are.
        curve: Its points so far.
    """

    transition: Transition
    weights: WeightFolder
    curve: list[EpochScore]

    def read(self) -> tuple[dict[str, Any] | None, Position]:
        """Return the checkpoint to continue from (None: begin) and its position, the same on every rank."""
        path = self.weights.checkpoint(self.transition)
        return distributed.decide_on_main(lambda: self.weights.load(path) if path.exists() else (None, Position()))

    def save(self, learner: Learner, position: Position, totals: EpochTotals | None) -> None:
        """Write the checkpoint to continue from."""

        def write() -> None:
            content = checkpoint_content(learner, totals) | {"events": [write_event(point) for point in self.curve]}
            self.weights.write(self.weights.checkpoint(self.transition), content, position=position)

        distributed.decide_on_main(write)

    def save_epoch(self, learner: Learner, position: Position, *, horizon: int) -> None:
        """Keep the weights of a complete epoch, where it may be a knee, then the checkpoint."""
        if position.epoch <= horizon:
            path, content = self.weights.epoch(self.transition, position.epoch), {"network": learner.result()}
            distributed.decide_on_main(lambda: self.weights.write(path, content, position=position))
        self.save(learner, position, None)


class TransitionTrainer:
    """Trains transitions, and notes every epoch."""

    def __init__(
        self,
        config: RunConfig,
        parts: SearchParts,
        *,
        note: Callable[[EpochScore], None],
        weights: WeightFolder,
        log: logging.Logger,
    ) -> None:
        """Take over the parts of a search, its weights, its log, and what takes the points of a curve."""
        self._config, self._parts, self._note_point, self._weights, self._log = config, parts, note, weights, log
        self._rule = make_rule(config)

    def __call__(self, transition: Transition, path: Steps, curve: Sequence[EpochScore]) -> None:
        """Train a transition from the end of a path until its knee is decided, or the rest of it after a kill.

        Args:
            transition: The transition.
            path: The path.
            curve: Its points that have been noted already.
        """
        title = title_of(self._config, transition)
        record = TransitionRecord(transition, self._weights, list(curve))
        content, position = record.read()
        if len(record.curve) > (len(content["events"]) if content is not None else 1):
            raise CheckpointError(
                f"{self._weights.checkpoint(transition)}: older than the journal {self._weights.path}, or gone; "
                "restore it, or use --force (FORCE=1 with run.sh) to move the search aside and start anew"
            )
        network = self._parts.make_network(self._weights.read(path) if content is None else content["network"])
        trainer = self._parts.make_trainer(*self._place_on_path(transition, path), network, title)
        if content is None:
            position, totals = Position(state=trainer.index), EpochTotals()
            self._log.info(f"{title}: {trainer.describe_setting()}")
        else:
            self._catch_up(record, content["events"])
            totals = restore(trainer.learner, content)
            self._log.info(f"continuing {transition} after {position.epoch} epochs and {position.step} steps")
        if not record.curve:
            self._note(record, self._score_start(trainer, transition))
        while self._judge(record) is None:
            point = self._train_epoch(trainer, position, totals, record)
            position, totals = position.next_epoch(), EpochTotals()
            record.curve.append(point)
            record.save_epoch(trainer.learner, position, horizon=self._rule.horizon)
            self._note_point(point)

    def _catch_up(self, record: TransitionRecord, lines: list[dict[str, Any]]) -> None:
        """Note the points in the checkpoint that the journal lacks: the process was killed between the two."""
        source = f"{self._weights.checkpoint(record.transition)}, event"
        saved = read_history(lines, self._config.graph, source=source)
        for point in saved.curve(record.transition)[len(record.curve) :]:
            self._note(record, point)

    def _note(self, record: TransitionRecord, point: EpochScore) -> None:
        record.curve.append(point)
        self._note_point(point)

    def _judge(self, record: TransitionRecord) -> Verdict | None:
        scores = [point.score for point in record.curve]
        return distributed.decide_on_main(lambda: self._rule.judge(scores))

    def _place_on_path(self, transition: Transition, path: Steps) -> tuple[RunConfig, int]:
        """Return the record of the path so far and this transition, and the transition's place in it."""
        states = [self._config.state_config(s.transition.end, epochs=s.outcome.epochs) for s in trained(path)]
        last = self._config.state_config(transition.end, epochs=self._config.search.max_epochs)
        return self._config.with_states([*states, last]), len(states)

    def _score_start(self, trainer: StateTrainer, transition: Transition) -> EpochScore:
        """Return point 0 of a curve: the score of the start weights; 0 from the initial state."""
        return EpochScore(transition, 0, 0.0) if transition.start == INITIAL else self._score(trainer, transition, 0)

    def _score(self, trainer: StateTrainer, transition: Transition, epoch: int) -> EpochScore:
        began = time.perf_counter()
        quick = trainer.evaluate()
        seconds = time.perf_counter() - began
        score = getattr(quick, self._config.search.metric)
        return EpochScore(transition, epoch, score, scored_clips=quick.videos, scoring_seconds=seconds, quick=quick)

    def _train_epoch(
        self, trainer: StateTrainer, position: Position, totals: EpochTotals, record: TransitionRecord
    ) -> EpochScore:
        """Train an epoch, or the rest of one, and score it; an epoch that diverges has no score."""
        transition, epoch = record.transition, position.epoch + 1
        try:
            totals = trainer.train_epoch(position, totals, record).merged()
            point = self._score(trainer, transition, epoch)
        except DivergedError as error:
            self._log.info(f"{transition}: {error}")
            return EpochScore(transition, epoch, math.nan)
        for note in totals.notes:
            self._log.info(f"  {note}")
        training = describe_training(trainer.learner, totals, num_frames=trainer.state.num_frames)
        return replace(point, clips=totals.clips, seconds=totals.seconds, training=training)
