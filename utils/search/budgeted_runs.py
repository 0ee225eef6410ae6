"""Train what a budgeted search tries: peaks' runs, pilots, and the plan that a pilot goes on as.

Each is the training of a record in a folder of its own, with everything that train_3d.py keeps, so each continues where
it was killed. A pilot stops inside a state: its checkpoint is the one that training of a longer state would
leave there.
"""

import contextlib
import dataclasses
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from utils import distributed
from utils.config import RunConfig
from utils.search.budgeted_plan import InputSteps, Slice, Stop, count_batches
from utils.search.setup import SearchParts
from utils.search.weights import Weights
from utils.training.averaging import TailAverage
from utils.training.checkpoint import Position, load_checkpoint, save_checkpoint
from utils.training.engine import EpochTotals, Learner
from utils.training.epoch_lines import EPOCHS_FILE
from utils.training.precision import autocast
from utils.training.run import train_states
from utils.training.state import StateTrainer, TrainingRecord, restore


@dataclass(frozen=True)
class BudgetedParts:
    """What a budgeted search is joined of.

    Attributes:
        search: Lists, factories and words; a state is scored on clips of its own input.
        inputs: What every input costs.
        measure: Returns the seconds of a training step of every input.
    """

    search: SearchParts[Any]
    inputs: tuple[InputSteps, ...]
    measure: Callable[[], tuple[float, ...]]


@dataclass(frozen=True)
class HeldoutLoss:
    """Mean cross-entropy on held-out videos, the standard deviation of that mean, and top-1 in percent."""

    loss: float
    sd: float
    top1: float


@torch.inference_mode()
def heldout_loss(learner: Learner, batches: Iterable[Any]) -> HeldoutLoss:
    """Return the loss of a network as it is, over all ranks; NaN where a score is not finite."""
    learner.network.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=learner.device)  # loss, its square, right, videos
    for batch in batches:
        if len(batch.labels):
            clips = learner.normalize(batch.clips.to(learner.device, non_blocking=True))
            with autocast(learner.device, learner.dtype):
                logits = learner.network.fuse(learner.network(clips))  # type: ignore[operator]
            labels = batch.labels.to(learner.device)
            losses = F.cross_entropy(logits.float(), labels, reduction="none").double()  # [N]
            right = (logits.argmax(dim=1) == labels).sum()
            sums += torch.stack([losses.sum(), (losses**2).sum(), right.double(), losses.new_tensor(len(labels))])
    loss_sum, square_sum, right_sum, videos = distributed.sum_over_ranks(sums).tolist()
    mean = loss_sum / max(videos, 1)
    if not math.isfinite(mean) or not videos:
        return HeldoutLoss(math.nan, math.nan, 0.0)
    return HeldoutLoss(mean, math.sqrt(max(0.0, square_sum / videos - mean**2) / videos), 100 * right_sum / videos)


def read_out(trainer: StateTrainer) -> HeldoutLoss:
    """Return the held-out loss of a state's network, with batch norm computed anew where it is not frozen."""
    if not trainer.state.frozen_bn:
        trainer.recalculate_statistics()
    assert trainer.quick is not None
    return heldout_loss(trainer.learner, trainer.quick)


class GoalReader:
    """Scores weights at the goal's clip."""

    def __init__(self, config: RunConfig, parts: BudgetedParts) -> None:
        """Make a network of its own, which no training sees."""
        settings = replace(config.optimizer, precise_bn=count_batches(config))
        record, state = replace(config, optimizer=settings), config.evaluation_state
        self._network: nn.Module = parts.search.make_network(None)
        self._trainer = parts.search.make_trainer(record.with_states([state]), 0, self._network, "readout")

    def __call__(self, weights: Weights) -> HeldoutLoss:
        """Return the held-out loss of weights."""
        self._network.load_state_dict(weights)
        return read_out(self._trainer)


class Runs:
    """Folders of what a search trains, and the training in them."""

    def __init__(self, config: RunConfig, parts: BudgetedParts, *, folder: Path, log: logging.Logger) -> None:
        """Train in a folder of the search's."""
        self._config, self._parts, self._folder, self._log = config, parts, folder, log
        self._read: GoalReader | None = None

    def _place(self, record: RunConfig, name: str) -> RunConfig:
        """Return a record that is trained in a folder of this name."""
        logs = replace(record.logging, output_dir=str(self._folder), save_freq=0)
        return replace(record, name=name, logging=logs)

    def _open(self, record: RunConfig, name: str) -> TrainingRecord:
        """Return what keeps a training in a folder of this name."""
        config, parts = self._place(record, name), self._parts.search
        return TrainingRecord(config, self._log, list_sha256=parts.training.sha256, class_names=parts.class_names)

    def train_peak(self, record: RunConfig, name: str) -> HeldoutLoss:
        """Train a record of one state to its end, and return its loss at its own clip; its files are removed.

        Raises:
            DivergedError: It diverged.
        """
        settings = replace(record.optimizer, eva_inter_freq=2**30, precise_bn=count_batches(self._config))
        quiet = replace(record, optimizer=settings)
        keeper, parts = self._open(quiet, name), self._parts.search
        content, position = keeper.read()
        network = parts.make_network(content and content["network"])
        trainer = parts.make_trainer(keeper.config, 0, network, name)
        try:
            if position.state == 0:
                totals = restore(trainer.learner, content) if content is not None else EpochTotals()
                trainer.train(keeper, position, totals)
        finally:
            keeper.close()
        return read_out(trainer)

    def remove(self, name: str) -> None:
        """Remove the files of a run that nothing needs any more; what it did not write stays, and its folder."""
        if not distributed.is_main():
            return
        folder = self._folder / name
        curves = folder / "tensorboard"
        written = (folder / "current.pth", folder / EPOCHS_FILE, self._place(self._config, name).saved_path)
        for file in (*written, *curves.glob("events.out.tfevents.*")):
            file.unlink(missing_ok=True)
        for emptied in (curves, folder):
            with contextlib.suppress(OSError):  # something else lies there, or the run never came so far
                emptied.rmdir()

    def train_slice(self, piece: Slice, start: str) -> "SliceRun":
        """Return a slice of a pilot, which begins with the end of an earlier one ("": with the start weights)."""
        keeper, parts = self._open(piece.record, piece.name), self._parts.search
        content, position = keeper.read()
        before = distributed.decide_on_main(lambda: self._load(start)) if start else None
        if content is not None:
            weights = content["network"]
        else:
            position = Position(state=piece.state)
            weights = before and before.get("average", before["network"])
        trainer = parts.make_trainer(keeper.config, piece.state, parts.make_network(weights), piece.name)
        learner, totals = trainer.learner, EpochTotals()
        has_average = learner.average is not None  # optimizer.ema: the average that is trained for is the one read out
        if content is not None:
            if "average" in content and not has_average:
                learner.average = TailAverage(learner.network)
            totals = restore(learner, content)
        elif before is not None and self._config.optimizer.keep_momentum:
            learner.take_momenta(before["optimizer"])
        return SliceRun(trainer, keeper, position, totals, has_average)

    def _load(self, name: str) -> dict[str, Any]:
        return load_checkpoint(self._folder / name / "current.pth")[0]

    def read_out(self, weights: Weights) -> HeldoutLoss:
        """Return the held-out loss of weights at the goal."""
        self._read = self._read or GoalReader(self._config, self._parts)
        return self._read(weights)

    def train_plan(self, record: RunConfig, name: str, *, begin: str) -> None:
        """Train a path, from the end of the slice that it begins with (""; there is none)."""
        config, parts = self._place(record, name), self._parts.search
        distributed.decide_on_main(lambda: self._begin(config, begin))
        train_states(
            config,
            self._log,
            list_sha256=parts.training.sha256,
            class_names=parts.class_names,
            make_network=lambda content: parts.make_network(content and content["network"]),
            make_trainer=lambda index, network: parts.make_trainer(config, index, network, ""),
            describe=parts.describe_network,
        )

    def _begin(self, config: RunConfig, begin: str) -> None:
        """Make the end of a slice the place where a path's training stands; what is there already stays."""
        if config.weights_path.exists() or not begin:
            return
        source = self._folder / begin
        content, position = load_checkpoint(source / "current.pth")
        config.run_dir.mkdir(parents=True, exist_ok=True)
        if (source / EPOCHS_FILE).exists():
            shutil.copyfile(source / EPOCHS_FILE, config.run_dir / EPOCHS_FILE)
        save_checkpoint(config.weights_path, {**content, "config": config.to_dict()}, position=position)


@dataclass
class SliceRun:
    """A slice in training.

    Attributes:
        trainer: Of its state.
        keeper: Of its folder.
        position: Where it stands.
        totals: Of the epoch that is not complete.
        has_average: Whether training keeps an average of the weights of its own.
    """

    trainer: StateTrainer
    keeper: TrainingRecord
    position: Position
    totals: EpochTotals
    has_average: bool

    @property
    def done(self) -> int:
        """Steps of the state so far."""
        return self.position.epoch * self.trainer.learner.length.steps_per_epoch + self.position.step

    def train(self, stop: Stop) -> Weights:
        """Train to a stop and return the average of the weights over its tail.

        Raises:
            DivergedError: It diverged.
        """
        learner = self.trainer.learner
        self._train_until(stop.tail)
        if learner.average is None:
            learner.average = TailAverage(learner.network)
        self._train_until(stop.step)
        return learner.result()

    def leave(self) -> None:
        """Go on without the average of the tail."""
        if not self.has_average:
            self.trainer.learner.average = None

    def close(self) -> None:
        """Save the slice as training of a longer state would stand there."""
        self.leave()
        learner, totals = self.trainer.learner, self.totals.merged()
        with learner.inside_epoch():
            self.keeper.save(learner, self.position, totals if self.position.step else None)
        self.keeper.close()

    def _train_until(self, step: int) -> None:
        learner, whole = self.trainer.learner, self.trainer.learner.length
        while self.done < step:
            learner.length = dataclasses.replace(whole, steps=step)
            try:
                self.totals = self.trainer.train_epoch(self.position, self.totals, self.keeper)
            finally:
                learner.length = whole
            epoch_end = (self.position.epoch + 1) * whole.steps_per_epoch
            if step < epoch_end:
                self.position = replace(self.position, step=step - epoch_end + whole.steps_per_epoch)
            else:
                self._finish_epoch()

    def _finish_epoch(self) -> None:
        """Record a complete epoch as training does: scored without the average of a tail, which no training knows."""
        learner, self.position = self.trainer.learner, self.position.next_epoch()
        average, learner.average = learner.average, learner.average if self.has_average else None
        score = self.trainer.score(self.position.epoch)
        learner.average = average
        self.keeper.finish_epoch(learner, self.position, self.totals.merged(), score)
        self.totals = EpochTotals()


class Watch:
    """Seconds since the last look."""

    def __init__(self) -> None:
        """Start."""
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the start or the last lap."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds
