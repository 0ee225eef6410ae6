"""Train a record: from wherever its checkpoint stands to its last state's weights."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch import nn

from utils import distributed
from utils.config import RunConfig
from utils.lock import lock_folder
from utils.logs import open_log
from utils.training import run_folder
from utils.training.checkpoint import Position
from utils.training.engine import EpochTotals
from utils.training.state import StateTrainer, TrainingRecord, restore

Network = TypeVar("Network", bound=nn.Module)


@contextlib.contextmanager
def open_run(config: RunConfig, script: str, *, force: bool) -> Iterator[logging.Logger]:
    """Hold the record's folder for the block and yield the log of a script.

    With `force` what is in the folder is moved aside first; else it must be of the same record.
    """

    def prepare() -> str:
        notice = run_folder.move_aside(config.run_dir) if force else ""
        run_folder.require_same_record(config)
        return notice

    with distributed.hold_on_main(lambda: lock_folder(config.run_dir)):
        notice = distributed.decide_on_main(prepare)
        log = open_log(config.run_dir, script)
        if notice:
            log.info(notice)
        yield log


def train_states(
    config: RunConfig,
    log: logging.Logger,
    *,
    list_sha256: str,
    class_names: Sequence[str],
    make_network: Callable[[dict[str, Any] | None], Network],
    make_trainer: Callable[[int, Network], StateTrainer],
    describe: Callable[[Network], str],
) -> None:
    """Train the states that are not done yet, in a folder that is held (`open_run`).

    Args:
        config: The record; a budget has become epochs.
        log: The log of the run.
        list_sha256: Of the training list's content.
        class_names: What its classes are called, by number.
        make_network: Returns the network that training starts (None) or continues from, given a checkpoint's content.
        make_trainer: Returns a state, given its number from 0, ready to train, from the network as it is.
        describe: Returns in a line what is trained, on what.
    """
    record = TrainingRecord(config, log, list_sha256=list_sha256, class_names=class_names)
    content, position = record.read()
    if position.state == len(config.states):
        log.info(f"training is complete: {config.weights_path}")
        return
    network = make_network(content)
    log.info(f"{config.name}: {describe(network)}")
    if content is not None:
        log.info(f"continuing in state {position.state + 1}, {position.epoch} epochs and {position.step} steps done")
    with contextlib.closing(record):
        _train(record, content, position, make_trainer=lambda index: make_trainer(index, network))
    log.info(f"trained weights: {config.weights_path}")


def _train(
    record: TrainingRecord,
    content: dict[str, Any] | None,
    position: Position,
    *,
    make_trainer: Callable[[int], StateTrainer],
) -> None:
    """Train the states from a position on, which a checkpoint with this content stands at (None: the beginning)."""
    momenta = content["optimizer"] if content is not None else {}
    for index in range(position.state, len(record.config.states)):
        trainer, totals = make_trainer(index), EpochTotals()
        if content is not None and (position.epoch or position.step):
            totals = restore(trainer.learner, content)
        elif index > 0 and record.config.optimizer.keep_momentum:
            trainer.learner.take_momenta(momenta)
        record.log.info(trainer.describe())
        trainer.train(record, position, totals)
        position, content, momenta = Position(state=index + 1), None, trainer.learner.optimizer.state_dict()
