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

    `make_network` returns the network to start (None) or continue from, given a checkpoint's content; `make_trainer` a
    state, by its number from 0, ready to train from the network as it is; `describe` says in a line what is trained.
    Class names are by number, and the list's digest is that of the training list.
    """
    record = TrainingRecord(config, log, list_sha256=list_sha256, class_names=class_names)
    content, position = record.read()
    if position.state == len(config.states):
        log.info(f"training is complete: {config.weights_path}")
        return
    log.info(f"{config.name}: {describe(network := make_network(content))}")
    momenta: dict[str, Any] = {}
    if content is not None:
        log.info(f"continuing in state {position.state + 1}, {position.epoch} epochs and {position.step} steps done")
        momenta = content["optimizer"]
    with contextlib.closing(record):
        for index in range(position.state, len(config.states)):
            trainer, totals = make_trainer(index, network), EpochTotals()
            if content is not None and position != Position(state=index):
                totals = restore(trainer.learner, content)
            elif index > 0 and config.optimizer.keep_momentum:
                trainer.learner.take_momenta(momenta)
            log.info(trainer.describe())
            trainer.train(record, position, totals)
            position, content, momenta = Position(state=index + 1), None, trainer.learner.optimizer.state_dict()
    log.info(f"trained weights: {config.weights_path}")
