"""Train a record from its checkpoint to the end of its last state."""

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
    """Lock the record's folder for the block and yield the log of a script.

    Args:
        config: The record.
        script: Name of the script in the log.
        force: Move an earlier run aside first.

    Raises:
        ConfigError: Without `force`, the folder holds a run of another configuration.
        LockError: Another process works in the folder.
    """

    def prepare() -> str:
        notice = run_folder.move_aside(config.run_dir) if force else ""
        run_folder.require_same_record(config)
        return notice

    with distributed.enter_on_main(lambda: lock_folder(config.run_dir)):
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
    """Train the states that are not complete, in a folder locked by `open_run`.

    Args:
        config: The record; a budget has been converted to epochs.
        log: Log of the run.
        list_sha256: SHA-256 of the training list's content.
        class_names: Class names in the order of the logits.
        make_network: Returns the network to start from, given a checkpoint's content (None: a new run).
        make_trainer: Returns the trainer of a state, given its index and the network with its current weights.
        describe: Returns a description of the network, data and device for the log.
    """
    record = TrainingRecord(config, log, list_sha256=list_sha256, class_names=class_names)
    content, position = record.read()
    if position.state == len(config.states):
        log.info(f"training is complete: {config.weights_path}")
        return
    network = make_network(content)
    log.info(f"{config.name}: {describe(network)}")
    if content is not None:
        log.info(f"continuing in state {position.state + 1} after {position.epoch} epochs and {position.step} steps")
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
    """Train the states from a position on; `content` is the checkpoint at that position, None for a new run."""
    momenta = content["optimizer"] if content is not None else {}
    for index in range(position.state, len(record.config.states)):
        trainer, totals = make_trainer(index), EpochTotals()
        if content is not None and (position.epoch or position.step):
            totals = restore(trainer.learner, content)
        elif index > 0 and record.config.optimizer.keep_momentum:
            trainer.learner.load_momenta(momenta)
        record.log.info(trainer.describe())
        trainer.train(record, position, totals)
        position, content, momenta = Position(state=index + 1), None, trainer.learner.optimizer.state_dict()
