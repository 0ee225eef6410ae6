"""The learning rate as a pure function of the position in training."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.config import RunConfig
from utils.planning.envelope import Envelope
from utils.training.batches import StateLength, StepPlan

COSINE_FLOOR = 1e-6  # final rate of a cosine schedule


@dataclass(frozen=True)
class Schedule:
    """The schedule of one state: linear warm-up, then a cosine, steps or a constant rate.

    Positions are counted in batches of the record, as the released code steps its scheduler.

    Attributes:
        base: Rate after warm-up.
        batches_per_epoch: Record batches per epoch (`StepPlan.record_batches_per_epoch`).
        epochs: Epochs of the state; the last one may be partial.
        warmup_epochs: Epochs of warm-up; 0 or negative: none.
        warmup_multiplier: Warm-up rises linearly from base / warmup_multiplier.
        decay_epochs: Epochs at which the rate is multiplied by decay_rate; empty: constant rate; None: cosine decay to
            1e-6.
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
        """Return the rate of batch number `batch`, counted from 0 over all epochs of the state."""
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
    """The schedule of a state under an envelope over the whole path, a function of the fraction of compute spent.

    Attributes:
        base: Peak rate of the state.
        envelope: Factor of the peak rate over the path.
        before: Compute of the states before this one, frames x pixels.
        per_step: Compute of a step of this state, frames x pixels.
        total: Compute that the envelope spans, frames x pixels.
    """

    base: float
    envelope: Envelope
    before: float
    per_step: float
    total: float

    def rate(self, step: int) -> float:
        """Return the rate of step number `step`, counted from 0 over the state, by the compute spent before it."""
        return self.base * self.envelope.factor(min(1.0, (self.before + step * self.per_step) / self.total))


def make_rate(
    config: RunConfig, state_index: int, *, plans: Sequence[StepPlan], num_videos: int
) -> Callable[[int, int], float]:
    """Return the learning rate of a state as a function of (epoch, step), both from 0.

    Args:
        config: The record.
        state_index: Index of the state, from 0.
        plans: The step plan of every state.
        num_videos: Videos of the training list.
    """
    state, settings, plan = config.states[state_index], config.optimizer, plans[state_index]
    if settings.envelope == "none":
        schedule = Schedule(
            base=state.base_learning_rate,
            batches_per_epoch=plan.record_batches_per_epoch(num_videos),
            epochs=state.epochs,
            warmup_epochs=settings.warmup_epoch,
            warmup_multiplier=settings.warmup_multiplier,
            decay_epochs={"cosine": None, "step": settings.lr_decay_epochs, "constant": ()}[settings.lr_scheduler],
            decay_rate=settings.lr_decay_rate,
        )
        return lambda epoch, step: schedule.rate(plan.schedule_position(epoch=epoch, step=step, num_videos=num_videos))
    lengths = [
        StateLength.of_epochs(each.epochs, of_state, num_videos=num_videos)
        for each, of_state in zip(config.states, plans, strict=True)
    ]
    per_step = [p.clips_per_step * each.pixels_per_clip for p, each in zip(plans, config.states, strict=True)]
    spent = [length.steps * compute for length, compute in zip(lengths, per_step, strict=True)]
    path = PathSchedule(
        base=state.base_learning_rate,
        envelope=Envelope(settings.envelope, settings.envelope_warmup, 1 / settings.warmup_multiplier),
        before=sum(spent[:state_index]),
        per_step=per_step[state_index],
        total=settings.envelope_epochs * lengths[-1].steps_per_epoch * per_step[-1] or sum(spent),
    )
    return lambda epoch, step: path.rate(epoch * lengths[state_index].steps_per_epoch + step)
