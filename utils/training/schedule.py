"""The learning rate as a pure function of the position in training."""

import math
from dataclasses import dataclass

from utils.planning.envelope import Envelope

COSINE_FLOOR = 1e-6  # the rate a cosine schedule ends at


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then cosine, steps or a constant rate.

    Counted in batches of the record, as the released code steps its scheduler.

    Attributes:
        base: Rate after warm-up.
        batches_per_epoch: Batches in an epoch (`StepPlan.record_batches_per_epoch`).
        epochs: Epochs of the state, which may end inside one.
        warmup_epochs: Epochs of warm-up; 0 or negative for none.
        warmup_multiplier: Warm-up rises linearly from base / warmup_multiplier.
        decay_epochs: Epochs at which the rate is multiplied by decay_rate, none for a constant rate; None for a cosine
            to 1e-6.
        decay_rate: Factor of each decay.
    """

    base: float
    batches_per_epoch: int
    epochs: float
    warmup_epochs: float = -1.0
    warmup_multiplier: float = 100.0
    decay_epochs: tuple[int, ...] | None = None
    decay_rate: float = 0.1

    def rate(self, batch: int) -> float:
        """Return the rate for batch number `batch`, counted from 0 over all epochs of the state."""
        warmup = max(self.warmup_epochs, 0.0) * self.batches_per_epoch
        if batch < warmup:
            start = self.base / self.warmup_multiplier
            return start + (self.base - start) * batch / warmup
        if self.decay_epochs is not None:
            passed = sum(batch >= epoch * self.batches_per_epoch for epoch in self.decay_epochs)
            return self.base * self.decay_rate**passed
        length = self.epochs * self.batches_per_epoch - warmup
        floor = min(COSINE_FLOOR, self.base)
        return floor + (self.base - floor) * (1 + math.cos(math.pi * (batch - warmup) / length)) / 2


@dataclass(frozen=True)
class PathSchedule:
    """The rate of a state under one envelope over its whole path, in fractions of the path's compute.

    Attributes:
        base: The state's own peak.
        envelope: The factor of the peak over the path.
        before: Compute of the states before this one, in the unit of `per_step`.
        per_step: Compute of a step of this state.
        whole: Compute of the path.
    """

    base: float
    envelope: Envelope
    before: float
    per_step: float
    whole: float

    def rate(self, step: int) -> float:
        """Return the rate of step number `step`, counted from 0 over the state, by what is spent before it."""
        return self.base * self.envelope.factor(min(1.0, (self.before + step * self.per_step) / self.whole))
