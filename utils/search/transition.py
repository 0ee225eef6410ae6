"""Train one transition of a search until the knee of its curve is decided.

A transition is a function of (start weights, state, seed): it starts with a fresh optimizer at a constant rate, and its
random generators are seeded by its position on the path, exactly as train_3d.py seeds the states of a record. Training
a record of the path therefore gives identical weights, if the search trained on the same videos.

After each epoch the checkpoint is written first, then the journal. If the process is killed in between, the score is
recovered from the checkpoint.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils import distributed
from utils.config import RunConfig
from utils.planning.graph import INITIAL, Transition
from utils.planning.search import Path as Steps
from utils.planning.search import trained
from utils.search.events import EpochScore, make_rule, read_history, write_event
from utils.search.jobs import Job
from utils.search.progress import title_of
from utils.search.result import SEARCH_FOLDER
from utils.search.setup import SearchParts, identify_search
from utils.search.weights import WeightFolder
from utils.training.checkpoint import CheckpointError, Position
from utils.training.engine import DivergedError, EpochTotals, Learner
from utils.training.state import StateTrainer, checkpoint_content, describe_training, restore


def train_transition(
    config: RunConfig, parts: SearchParts, job: Job, note: Callable[[EpochScore], None], log: logging.Logger
) -> None:
    """Train a transition (`run_job` of `utils.search.jobs.Work`).

    Args:
        config: The search record.
        parts: The parts of the search.
        job: The job, whose task is the transition and the path to its start.
        note: Receives each new point of the curve.
        log: The log.
    """
    transition, path = job.task
    folder, identity = config.run_dir / SEARCH_FOLDER, identify_search(config, parts)
    weights = WeightFolder(folder, config.graph, identity=identity, say=log.info)
    curve = list(read_history(job.known, config.graph, source=f"{job.name}, event").curve(transition))
    _Training(config, parts, transition, weights, curve, note, log).run(path)


@dataclass
class _Training:
    """The training of a transition and its files; rank 0 writes.

    Attributes:
        config: The search record.
        parts: The parts of the search.
        transition: The transition.
        weights: The search's files with weights.
        curve: Points of the curve so far.
        note: Receives each new point of the curve.
        log: The log.
    """

    config: RunConfig
    parts: SearchParts
    transition: Transition
    weights: WeightFolder
    curve: list[EpochScore]
    note: Callable[[EpochScore], None]
    log: logging.Logger

    def run(self, path: Steps) -> None:
        """Train from the end of a path, or from the last checkpoint, until the knee is decided."""
        title, file = title_of(self.config, self.transition), self.weights.checkpoint(self.transition)
        content, position = self._read(file)
        if len(self.curve) > (len(content["events"]) if content is not None else 1):
            raise CheckpointError(
                f"{file}: missing, or older than the journal in {self.weights.path}; "
                "restore it, or use --force (FORCE=1 with run.sh) to move the search aside and start anew"
            )
        network = self.parts.make_network(self.weights.read(path) if content is None else content["network"])
        trainer = self.parts.make_trainer(*self._place_on_path(path), network, title)
        if content is None:
            position, totals = Position(state=trainer.index), EpochTotals()
            self.log.info(f"{title}: {trainer.describe_setting()}")
        else:
            saved = read_history(content["events"], self.config.graph, source=f"{file}, event").curve(self.transition)
            for point in saved[len(self.curve) :]:  # the process was killed between writing checkpoint and journal
                self._add(point)
            totals = restore(trainer.learner, content)
            self.log.info(f"continuing {self.transition} after {position.epoch} epochs and {position.step} steps")
        if not self.curve:  # a curve from the initial state starts at 0
            is_first = self.transition.start == INITIAL
            self._add(EpochScore(self.transition, 0, 0.0) if is_first else self._score(trainer, 0))
        while not self._is_decided():
            point = self._train_epoch(trainer, position, totals)
            position, totals = position.next_epoch(), EpochTotals()
            self.curve.append(point)
            self._save_epoch(trainer.learner, position)
            self.note(point)

    def _read(self, file: Path) -> tuple[dict[str, Any] | None, Position]:
        """Return the checkpoint to continue from (None: start) and its position, the same on all ranks."""
        return distributed.decide_on_main(lambda: self.weights.load(file) if file.exists() else (None, Position()))

    def save(self, learner: Learner, position: Position, totals: EpochTotals | None) -> None:
        """Write the checkpoint to continue from."""
        content = checkpoint_content(learner, totals) | {"events": [write_event(point) for point in self.curve]}
        path = self.weights.checkpoint(self.transition)
        distributed.decide_on_main(lambda: self.weights.write(path, content, position=position))

    def _save_epoch(self, learner: Learner, position: Position) -> None:
        """Write the weights of a complete epoch, if it may be the knee, then the checkpoint."""
        if position.epoch <= self.config.search.horizon:
            path, content = self.weights.epoch(self.transition, position.epoch), {"network": learner.result()}
            distributed.decide_on_main(lambda: self.weights.write(path, content, position=position))
        self.save(learner, position, None)

    def _add(self, point: EpochScore) -> None:
        self.curve.append(point)
        self.note(point)

    def _is_decided(self) -> bool:
        rule, scores = make_rule(self.config), [point.score for point in self.curve]
        return distributed.decide_on_main(lambda: rule.judge(scores) is not None)

    def _place_on_path(self, path: Steps) -> tuple[RunConfig, int]:
        """Return the record of the path with this transition, and the transition's index in it."""
        states = [self.config.state_config(s.transition.end, epochs=s.outcome.epochs) for s in trained(path)]
        last = self.config.state_config(self.transition.end, epochs=self.config.search.max_epochs)
        return self.config.with_states([*states, last]), len(states)

    def _score(self, trainer: StateTrainer, epoch: int) -> EpochScore:
        began = time.perf_counter()
        found = trainer.evaluate()
        seconds = time.perf_counter() - began
        score = getattr(found, self.config.search.metric)
        return EpochScore(
            self.transition, epoch, score, scored_clips=found.videos, scoring_seconds=seconds, validation=found
        )

    def _train_epoch(self, trainer: StateTrainer, position: Position, totals: EpochTotals) -> EpochScore:
        """Train an epoch, or the rest of one, and score it; the score is NaN if training diverges."""
        epoch = position.epoch + 1
        try:
            totals = trainer.train_epoch(position, totals, self).merged()
            point = self._score(trainer, epoch)
        except DivergedError as error:
            self.log.info(f"{self.transition}: {error}")
            return EpochScore(self.transition, epoch, math.nan)
        for note in totals.notes:
            self.log.info(f"  {note}")
        training = describe_training(trainer.learner, totals, num_frames=trainer.state.num_frames)
        return replace(point, clips=totals.clips, seconds=totals.seconds, training=training)
