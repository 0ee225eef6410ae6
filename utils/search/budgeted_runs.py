"""Train the runs of a budgeted search: peak runs, pilots, branches, the check, and the path that continues a pilot.

Each run trains a record in a folder of its own, with all the files that train_3d.py writes, so it continues from where
it was killed. A pilot stops inside a state: its checkpoint is the one that training the longer state would write there.
"""

import contextlib
import logging
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from utils import distributed
from utils.config import RunConfig
from utils.files import remove_temporaries
from utils.planning.studied import mean_loss
from utils.search.budgeted_plan import InputSteps, Pilot, count_batches
from utils.search.setup import SearchParts
from utils.training.checkpoint import load_checkpoint, save_checkpoint
from utils.training.engine import DivergedError, EpochTotals, Learner
from utils.training.epoch_lines import EPOCHS_FILE
from utils.training.precision import autocast
from utils.training.run import train_states
from utils.training.state import StateTrainer, TrainingRecord, restore


@dataclass(frozen=True)
class BudgetedParts:
    """The parts of a budgeted search.

    Attributes:
        search: Lists, factories and descriptions; a state is scored on clips of its own input.
        inputs: Steps and costs of each input, in frames x pixels.
        measure: Returns the seconds of a training step on each input.
    """

    search: SearchParts[Any]
    inputs: tuple[InputSteps, ...]
    measure: Callable[[], tuple[float, ...]]


@dataclass(frozen=True)
class HeldoutLoss:
    """Loss and accuracy of a network on the held-out videos.

    Attributes:
        losses: Cross-entropy of each video, in the order of the list; empty if one is not finite.
        top1: Accuracy, percent.
    """

    losses: tuple[float, ...] = ()
    top1: float = 0.0

    @property
    def loss(self) -> float:
        """Mean of the losses, NaN if there are none."""
        return mean_loss(self.losses)[0]

    @property
    def sd(self) -> float:
        """Standard error of that mean."""
        return mean_loss(self.losses)[1]


@torch.inference_mode()
def heldout_loss(learner: Learner, batches: Iterable[Any]) -> HeldoutLoss:
    """Return the held-out loss of a network in its current state, gathered from all ranks.

    Args:
        learner: Its network is scored in evaluation mode.
        batches: This rank's batches of the held-out videos.
    """
    learner.network.eval()
    own: list[tuple[int, float, bool]] = []  # video, loss, whether the prediction is right
    for batch in batches:
        if len(batch.labels):
            clips = learner.normalize(batch.clips.to(learner.device, non_blocking=True))
            with autocast(learner.device, learner.dtype):
                logits = learner.network.fuse(learner.network(clips))  # type: ignore[operator]
            scores = logits.float().cpu()  # [N, classes]
            losses = F.cross_entropy(scores, batch.labels, reduction="none").tolist()
            right = (scores.argmax(dim=1) == batch.labels).tolist()
            own += zip(batch.videos.tolist(), losses, right, strict=True)
    found = sorted(each for rank in distributed.gather_objects(own) for each in rank)
    if not found or not math.isfinite(sum(loss for _, loss, _ in found)):
        return HeldoutLoss()
    return HeldoutLoss(tuple(loss for _, loss, _ in found), 100 * sum(right for *_, right in found) / len(found))


def read_out(trainer: StateTrainer) -> HeldoutLoss:
    """Return the held-out loss of a state's network, after recomputing batch norm statistics unless they are frozen."""
    if not trainer.state.frozen_bn:
        trainer.recalculate_statistics()
    assert trainer.validation is not None
    return heldout_loss(trainer.learner, trainer.validation)


class Runs:
    """Trains the runs of a search, each in a subfolder of the search's folder."""

    def __init__(self, config: RunConfig, parts: BudgetedParts, *, folder: Path, log: logging.Logger) -> None:
        """Initialize the runs.

        Args:
            config: The search record.
            parts: The parts of the search.
            folder: The search's folder.
            log: The log.
        """
        self._config, self._parts, self._folder, self._log = config, parts, folder, log

    def _place(self, record: RunConfig, name: str) -> RunConfig:
        """Return a record changed to be trained in the subfolder `name`."""
        logs = replace(record.logging, output_dir=str(self._folder), save_freq=0)
        return replace(record, name=name, logging=logs)

    def _open(self, record: RunConfig, name: str) -> TrainingRecord:
        """Return the files of a training in the subfolder `name`."""
        config, parts = self._place(record, name), self._parts.search
        return TrainingRecord(config, self._log, list_sha256=parts.training.sha256, class_names=parts.class_names)

    def train_short(self, record: RunConfig, name: str, *, start: str = "") -> HeldoutLoss:
        """Train a record of a single state to its end; return the held-out loss on its own clips. Its files are kept.

        Args:
            record: Record of a peak run or a branch.
            name: Name of its folder.
            start: Name of the pilot to start from, momenta included; "": the start weights of the search.

        Raises:
            DivergedError: Training diverged, or the held-out loss is not finite.
        """
        settings = replace(record.optimizer, precise_bn=count_batches(self._config))
        keeper, parts = self._open(replace(record, optimizer=settings), name), self._parts.search
        content, position = keeper.read()
        before = distributed.decide_on_main(lambda: self._load(start)) if start and content is None else None
        known = content or before
        network = parts.make_network(known and known["network"])
        trainer, totals = parts.make_trainer(keeper.config, 0, network, name), EpochTotals()
        validation, trainer.validation = trainer.validation, None  # scored once, at the end
        with contextlib.closing(keeper):
            if before is not None:
                trainer.learner.load_momenta(before["optimizer"])
            if position.state == 0:
                totals = restore(trainer.learner, content) if content is not None else totals
                trainer.train(keeper, position, totals)
        trainer.validation = validation
        found = read_out(trainer)
        if not found.losses:
            raise DivergedError("the held-out loss is NaN or infinite")
        return found

    def train_check(self, record: RunConfig, name: str) -> HeldoutLoss:
        """Train a record to its end; return the held-out loss on the clips of its last state. Its files are kept.

        Args:
            record: Record of a run of the check.
            name: Name of its folder.

        Returns:
            The loss; without losses if one is not finite.

        Raises:
            DivergedError: Training diverged.
        """
        self.train_plan(replace(record, optimizer=replace(record.optimizer, eva_inter_freq=2**30)), name, begin="")
        content = distributed.decide_on_main(lambda: self._load(name))
        network, settings = self._parts.search.make_network(content["network"]), record.optimizer
        reading = replace(record, optimizer=replace(settings, precise_bn=count_batches(self._config)))
        last = len(record.states) - 1
        return read_out(self._parts.search.make_trainer(reading, last, network, name))

    def remove(self, name: str) -> None:
        """Remove the files of a run; a folder with files that the run did not write is kept with these."""
        if not distributed.is_main():
            return
        folder = self._folder / name
        curves = folder / "tensorboard"
        written = (folder / "current.pth", folder / EPOCHS_FILE, self._place(self._config, name).saved_path)
        for file in (*written, *curves.glob("events.out.tfevents.*")):
            file.unlink(missing_ok=True)
        remove_temporaries(folder)  # of a worker that was killed while writing
        for emptied in (curves, folder):
            with contextlib.suppress(OSError):  # it holds other files, or the run has not created it
                emptied.rmdir()

    def train_pilot(self, pilot: Pilot, until: int) -> None:
        """Train a pilot up to a step; its checkpoint is the one that training the path would write there.

        Args:
            pilot: The pilot.
            until: Number of steps after which it stops.

        Raises:
            DivergedError: Training diverged.
        """
        keeper, parts = self._open(pilot.record, pilot.name), self._parts.search
        content, position = keeper.read()
        network = parts.make_network(content and content["network"])
        trainer = parts.make_trainer(keeper.config, 0, network, pilot.name)
        learner, whole = trainer.learner, trainer.learner.length
        totals = restore(learner, content) if content is not None else EpochTotals()
        with contextlib.closing(keeper):
            while position.epoch * whole.steps_per_epoch + position.step < until:
                learner.length = replace(whole, steps=until)
                try:
                    totals = trainer.train_epoch(position, totals, keeper)
                finally:
                    learner.length = whole
                if until < (position.epoch + 1) * whole.steps_per_epoch:
                    return
                position = position.next_epoch()
                keeper.finish_epoch(learner, position, totals.merged(), trainer.score(position.epoch))
                totals = EpochTotals()

    def _load(self, name: str) -> dict[str, Any]:
        return load_checkpoint(self._folder / name / "current.pth")[0]

    def train_plan(self, record: RunConfig, name: str, *, begin: str) -> None:
        """Train a path to its end.

        Args:
            record: Record of the path.
            name: Name of its folder.
            begin: Name of the pilot that it continues; "": none.
        """
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
        """Copy the end of a pilot as the checkpoint of a path, unless the path has one."""
        if config.weights_path.exists() or not begin:
            return
        source = self._folder / begin
        content, position = load_checkpoint(source / "current.pth")
        config.run_dir.mkdir(parents=True, exist_ok=True)
        if (source / EPOCHS_FILE).exists():
            shutil.copyfile(source / EPOCHS_FILE, config.run_dir / EPOCHS_FILE)
        save_checkpoint(config.weights_path, {**content, "config": config.to_dict()}, position=position)
