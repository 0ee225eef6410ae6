"""Train a record: from wherever its checkpoint stands to its last state's weights."""

import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from utils.config import RunConfig
from utils.logs import open_log
from utils.training import run_folder
from utils.training.checkpoint import Position
from utils.training.engine import EpochTotals
from utils.training.state import StateTrainer, TrainingRecord

Network = TypeVar("Network", bound=nn.Module)


def open_run(config: RunConfig, script: str, *, force: bool) -> logging.Logger:
    """Open the record's folder (with `force` what is in it is moved aside first) and return the log of a script."""
    notice = run_folder.open_for_training(config, force=force)
    log = open_log(config.run_dir, script)
    if notice:
        log.info(notice)
    return log


def train_states(
    config: RunConfig,
    *,
    list_sha256: str,
    make_network: Callable[[dict[str, Any] | None], Network],
    make_trainer: Callable[[int, Network], StateTrainer],
    describe: Callable[[Network], str],
    force: bool,
) -> None:
    """Train the states that are not done yet.

    Args:
        config: The record.
        list_sha256: Of the training list's content.
        make_network: Returns the network that training starts (None) or continues from, given a checkpoint's content.
        make_trainer: Returns a state, given its number from 0, ready to train, from the network as it is.
        describe: Returns in a line what is trained, on what.
        force: An earlier run is moved aside, not continued.
    """
    log = open_run(config, "train", force=force)
    record = TrainingRecord(config, log, list_sha256=list_sha256)
    content, position = record.read()
    if position.state == len(config.states):
        log.info(f"training is complete: {config.weights_path}")
        return
    network = make_network(content)
    log.info(f"{config.name}: {describe(network)}")
    if content is not None:
        log.info(f"continuing in state {position.state + 1}, {position.epoch} epochs and {position.step} steps done")
    with contextlib.closing(record):
        for index in range(position.state, len(config.states)):
            trainer, totals = make_trainer(index, network), EpochTotals()
            if content is not None and (position.epoch or position.step):
                trainer.learner.load_state_dict(content)
                totals = EpochTotals.of_rank(content["totals"])
            log.info(trainer.describe())
            trainer.train(record, position, totals)
            position, content = Position(state=index + 1), None
    log.info(f"trained weights: {config.weights_path}")
