"""Which videos make up which micro-batch: the same steps for any number of processes.

`batch_size`, `iter_size` and `num_gpu` of a record say how many clips one optimizer step sees. That number is kept on
any machine: fewer processes accumulate more micro-batches, more processes take fewer or smaller ones, so that a record
means the same training on one GPU and on eight (batch norm still sees one micro-batch at a time).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from utils.errors import UserError
from utils.training.balance import Order, count_earlier


class BatchError(UserError):
    """Batch sizes that do not fit the number of processes or videos."""


@dataclass(frozen=True)
class StepPlan:
    """How one process takes part in an optimizer step.

    Attributes:
        micro_batch: Clips of one forward pass.
        micro_batches: Forward passes a step.
        world_size: Processes that step together.
        record_batch: Clips of one batch on every process the record is written for: batch_size x num_gpu. Learning
            rate schedules are counted in these, whatever the number of processes.
        iter_size: Record batches a step.
    """

    micro_batch: int
    micro_batches: int
    world_size: int
    record_batch: int
    iter_size: int

    @property
    def clips_per_step(self) -> int:
        """Clips that all processes together train on in a step."""
        return self.micro_batch * self.micro_batches * self.world_size

    @property
    def unit(self) -> int:
        """Clips that an epoch is a whole number of: whole batches of the record and of this run."""
        return math.lcm(self.record_batch, self.micro_batch * self.world_size)

    def record_batches_per_epoch(self, num_videos: int) -> int:
        """Return the length of an epoch as the learning rate schedule counts it."""
        return num_videos // self.unit * (self.unit // self.record_batch)

    def schedule_position(self, *, epoch: int, step: int, num_videos: int) -> int:
        """Return the number, over all epochs, of the last record batch of a step: where its rate is taken."""
        length = self.record_batches_per_epoch(num_videos)
        return epoch * length + min((step + 1) * self.iter_size, length) - 1

    def clips_per_epoch(self, num_videos: int) -> int:
        """Return the clips of all processes in an epoch: one of every video that fills a unit."""
        return num_videos // self.unit * self.unit

    def batches_per_epoch(self, num_videos: int) -> int:
        """Return the micro-batches of one process in an epoch; videos that fill no unit are left out of that epoch."""
        return num_videos // self.unit * (self.unit // (self.micro_batch * self.world_size))

    def steps_per_epoch(self, num_videos: int) -> int:
        """Return the optimizer steps of an epoch; the last one may have fewer micro-batches."""
        return -(-self.batches_per_epoch(num_videos) // self.micro_batches)

    def batches_of_step(self, step: int, num_videos: int) -> int:
        """Return how many micro-batches a step has."""
        return min(self.micro_batches, self.batches_per_epoch(num_videos) - step * self.micro_batches)


@dataclass(frozen=True)
class StateLength:
    """How long a state is. Its last epoch is cut short where it ends inside one.

    Attributes:
        steps: Optimizer steps of the whole state.
        steps_per_epoch: Of an epoch that is not cut.
    """

    steps: int
    steps_per_epoch: int

    @classmethod
    def of_epochs(cls, epochs: float, plan: StepPlan, *, num_videos: int) -> "StateLength":
        """Return the length of so many epochs, rounded to steps, one at least."""
        steps_per_epoch = plan.steps_per_epoch(num_videos)
        return cls(max(1, round(epochs * steps_per_epoch)), steps_per_epoch)

    @property
    def num_epochs(self) -> int:
        """Epochs, with the one that is cut short."""
        return -(-self.steps // self.steps_per_epoch)

    def steps_of_epoch(self, epoch: int) -> int:
        """Return the steps of an epoch, counted from 0."""
        return min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)


def plan_steps(*, batch_size: int, iter_size: int, num_gpu: int, world_size: int) -> StepPlan:
    """Divide the batch_size x iter_size x num_gpu clips of a step among the processes.

    Raises:
        BatchError: The clips of a step cannot be shared evenly.
    """
    clips = batch_size * iter_size * num_gpu
    own, rest = divmod(clips, world_size)
    if rest or own == 0:
        raise BatchError(
            f"a step of {clips} clips (batch_size {batch_size} x iter_size {iter_size} x num_gpu {num_gpu}) cannot be "
            f"shared evenly by {world_size} processes; use a number of processes that divides it (NPROC=...)"
        )
    micro_batches = next(count for count in range(-(-own // batch_size), own + 1) if own % count == 0)
    return StepPlan(
        micro_batch=own // micro_batches,
        micro_batches=micro_batches,
        world_size=world_size,
        record_batch=batch_size * num_gpu,
        iter_size=iter_size,
    )


class EpochBatches(Sampler[list[tuple[int, ...]]]):
    """The micro-batches of one process in one epoch, as lists of (epoch, video index).

    Every epoch is a new order of videos, drawn from (seed, epoch) alone. Micro-batch k of the order goes to rank
    k % world_size, so one process that accumulates sees the very micro-batches that several processes see side by side.
    The epoch is part of every key, so that loader workers that live on need not be told of it. A video that has come in
    the epoch already has how often behind its index: its clip is another one then.
    """

    def __init__(
        self, num_videos: int, plan: StepPlan, *, rank: int, seed: tuple[int, ...], order: Order | None = None
    ) -> None:
        """Begin with epoch 0; refuse a list of fewer videos than one batch on every process takes.

        Args:
            num_videos: In the list; as many are drawn for an epoch.
            plan: Of the steps.
            rank: Of this process.
            seed: With the epoch, all that the order depends on.
            order: Draws it, of `utils.training.balance.make_order`; None: each video once.
        """
        self.num_videos, self.plan, self.rank, self.seed = num_videos, plan, rank, seed
        self.order: Order = order or (lambda rng: rng.permutation(num_videos))
        self.epoch = 0
        self.first_batch, self.end_batch = 0, plan.batches_per_epoch(num_videos)
        if plan.batches_per_epoch(num_videos) == 0:
            raise BatchError(
                f"the training list has {num_videos} videos, fewer than the {plan.unit} clips of one batch on every "
                "process; lower sampler.batch_size or optimizer.num_gpu"
            )

    def start(self, epoch: int, *, first_batch: int = 0, most: int | None = None) -> None:
        """Choose the epoch that the next iteration runs, counted from 0, and which of its micro-batches.

        Args:
            epoch: The epoch.
            first_batch: Its first micro-batch to run.
            most: Micro-batches of the epoch where it is cut short.
        """
        whole = self.plan.batches_per_epoch(self.num_videos)
        self.epoch, self.first_batch = epoch, first_batch
        self.end_batch = whole if most is None else min(most, whole)

    def __len__(self) -> int:
        """Return the micro-batches that are left of the epoch."""
        return self.end_batch - self.first_batch

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        """Give the micro-batches that are left of the epoch."""
        order = self.order(np.random.default_rng((*self.seed, self.epoch)))
        earlier = count_earlier(order)
        size = self.plan.micro_batch
        for number in range(self.first_batch, self.end_batch):
            begin = (number * self.plan.world_size + self.rank) * size
            pairs = zip(order[begin : begin + size].tolist(), earlier[begin : begin + size].tolist(), strict=True)
            yield [(self.epoch, video, *((repeat,) if repeat else ())) for video, repeat in pairs]
