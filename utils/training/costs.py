"""Measure the training cost of a path's inputs on this machine, once: a resumed run must keep its path."""

import hashlib
import json
from collections.abc import Callable, Sequence

from utils import distributed, stopping
from utils.config import RunConfig
from utils.config.record import training_values
from utils.sealed import read_sealed_json, write_sealed_json
from utils.training.batches import StateLength
from utils.training.engine import EpochTotals, StepHooks, train_epoch
from utils.training.state import StateTrainer, explain_step_errors

COSTS_FILE = "costs.json"
MEASURED_STEPS = 20
FIRST_STEPS = 2  # warm-up, not counted: workers start, libraries choose their kernels


def load_or_measure_costs(config: RunConfig, measure: Callable[[], list[float]]) -> Sequence[float]:
    """Return the seconds per clip of every state: those in the run's folder, else measured and written there."""
    identity = hashlib.sha256(json.dumps(training_values(config), sort_keys=True).encode()).hexdigest()
    path = config.run_dir / COSTS_FILE

    def read() -> list[float] | None:
        content = read_sealed_json(path) if path.exists() else {}
        return content["seconds_per_clip"] if content.get("record") == identity else None

    found = distributed.decide_on_main(read)
    if found is not None:
        return found
    seconds = measure()
    if distributed.is_main():
        write_sealed_json(path, {"record": identity, "steps": MEASURED_STEPS, "seconds_per_clip": seconds})
    return seconds


def measure_clip(trainer: StateTrainer) -> float:
    """Return the seconds per training clip, loading included; running statistics change, weights do not.

    Raises:
        Stopped: The process was asked to stop; nothing is saved.
    """
    learner = trainer.learner
    learner.rate = lambda *_: 0.0
    whole, totals = learner.length.steps_per_epoch, EpochTotals()
    _train_steps(trainer, min(FIRST_STEPS, whole), epoch=0, totals=EpochTotals())
    for epoch, left in enumerate(range(MEASURED_STEPS, 0, -whole), start=1):
        totals = _train_steps(trainer, min(left, whole), epoch=epoch, totals=totals)
    merged = totals.merged()
    return merged.seconds / merged.clips


def _train_steps(trainer: StateTrainer, count: int, *, epoch: int, totals: EpochTotals) -> EpochTotals:
    """Run the first `count` steps of an epoch without recording them; return the totals including them."""
    learner = trainer.learner
    whole = learner.length.steps_per_epoch
    learner.length = StateLength(epoch * whole + count, whole)
    trainer.batches.start(epoch, num_batches=count * learner.plan.micro_batches)
    hooks = StepHooks(lambda *_: None, count, lambda *_: None, 0)
    try:
        with explain_step_errors(trainer.config, trainer.state):
            return train_epoch(learner, trainer.loader, epoch=epoch, first_step=0, totals=totals, hooks=hooks)
    except stopping.Stopped:
        raise stopping.stopped("while measuring the cost of the inputs, before the first step") from None
