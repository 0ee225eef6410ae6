"""Assign videos to micro-batches so that the optimizer steps are the same for any number of processes.

`batch_size`, `iter_size` and `num_gpu` of a record define the clips per optimizer step. That number holds on any
machine: fewer processes accumulate more micro-batches, more processes take fewer or smaller ones, so a record means the
same training on one GPU and on eight (batch norm still sees one micro-batch at a time).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from utils.errors import UserError
from utils.training.balance import Order, count_earlier


class BatchError(UserError):
    """The batch sizes do not fit the number of processes or videos."""


@dataclass(frozen=True)
class StepPlan:
    """The part of one process in an optimizer step.

    Attributes:
        micro_batch: Clips per forward pass.
        micro_batches: Forward passes per step.
        world_size: Number of processes.
        record_batch: Clips of one batch on all processes that the record is written for: batch_size x num_gpu.
            Learning rate schedules count these, whatever the number of processes.
        iter_size: Record batches per step.
    """

    micro_batch: int
    micro_batches: int
    world_size: int
    record_batch: int
    iter_size: int

    @property
    def clips_per_step(self) -> int:
        """Clips per step, over all processes."""
        return self.micro_batch * self.micro_batches * self.world_size

    @property
    def unit(self) -> int:
        """Clips that divide every epoch: the least common multiple of a record's batch and a batch of this run."""
        return math.lcm(self.record_batch, self.micro_batch * self.world_size)

    def record_batches_per_epoch(self, num_videos: int) -> int:
        """Return the record batches of an epoch: its length in the unit of learning rate schedules."""
        return num_videos // self.unit * (self.unit // self.record_batch)

    def schedule_position(self, *, epoch: int, step: int, num_videos: int) -> int:
        """Return the index, over all epochs, of a step's last record batch, whose learning rate the step uses."""
        length = self.record_batches_per_epoch(num_videos)
        return epoch * length + min((step + 1) * self.iter_size, length) - 1

    def clips_per_epoch(self, num_videos: int) -> int:
        """Return the clips of an epoch over all processes: one per video, rounded down to a multiple of `unit`."""
        return num_videos // self.unit * self.unit

    def batches_per_epoch(self, num_videos: int) -> int:
        """Return the micro-batches of one process in an epoch; the videos beyond the last `unit` are left out."""
        return num_videos // self.unit * (self.unit // (self.micro_batch * self.world_size))

    def steps_per_epoch(self, num_videos: int) -> int:
        """Return the optimizer steps of an epoch; the last step may have fewer micro-batches."""
        return -(-self.batches_per_epoch(num_videos) // self.micro_batches)

    def batches_of_step(self, step: int, num_videos: int) -> int:
        """Return the micro-batches of a step, counted from 0."""
        return min(self.micro_batches, self.batches_per_epoch(num_videos) - step * self.micro_batches)


@dataclass(frozen=True)
class StateLength:
    """The length of a state; its last epoch may be partial.

    Attributes:
        steps: Optimizer steps of the state.
        steps_per_epoch: Optimizer steps of a full epoch.
    """

    steps: int
    steps_per_epoch: int

    @classmethod
    def of_epochs(cls, epochs: float, plan: StepPlan, *, num_videos: int) -> "StateLength":
        """Return the length of a number of epochs, rounded to at least one step."""
        steps_per_epoch = plan.steps_per_epoch(num_videos)
        return cls(max(1, round(epochs * steps_per_epoch)), steps_per_epoch)

    @property
    def num_epochs(self) -> int:
        """Number of epochs, a partial last one included."""
        return -(-self.steps // self.steps_per_epoch)

    def steps_of_epoch(self, epoch: int) -> int:
        """Return the number of steps of epoch number `epoch`, counted from 0."""
        return min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)


def plan_steps(*, batch_size: int, iter_size: int, num_gpu: int, world_size: int) -> StepPlan:
    """Divide the batch_size x iter_size x num_gpu clips of a step among the processes.

    Args:
        batch_size: Clips per process and micro-batch, as the record has it.
        iter_size: Micro-batches per step, as the record has it.
        num_gpu: Processes that the record is written for.
        world_size: Processes of this run.

    Raises:
        BatchError: The clips of a step cannot be divided evenly.
    """
    clips = batch_size * iter_size * num_gpu
    own, rest = divmod(clips, world_size)
    if rest or own == 0:
        raise BatchError(
            f"a step of {clips} clips (batch_size {batch_size} x iter_size {iter_size} x num_gpu {num_gpu}) cannot be "
            f"divided evenly among {world_size} processes; use a number of processes that divides it (NPROC=...)"
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
    """Batch sampler of one process and epoch: lists of (epoch, video index) or (epoch, video index, repeat).

    The order of an epoch's videos depends on (seed, epoch) alone. Micro-batch k of the order goes to rank
    k % world_size, so a single process that accumulates sees the same micro-batches as several processes. Keys contain
    the epoch because persistent loader workers are not told of it. The second and later occurrences of a video within
    an epoch carry the number of earlier ones as `repeat`, so that their clips differ.
    """

    def __init__(
        self, num_videos: int, plan: StepPlan, *, rank: int, seed: tuple[int, ...], order: Order | None = None
    ) -> None:
        """Start at epoch 0.

        Args:
            num_videos: Videos of the list, and draws per epoch.
            plan: Micro-batches of a step.
            rank: Rank of this process.
            seed: Seed of the order, together with the epoch.
            order: Draws the order, see `utils.training.balance.make_order`; None: each video once.

        Raises:
            BatchError: The list has fewer videos than one batch on every process.
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

    def start(self, epoch: int, *, first_batch: int = 0, num_batches: int | None = None) -> None:
        """Select the micro-batches of the next iteration.

        Args:
            epoch: The epoch, from 0.
            first_batch: Index of the first micro-batch to yield.
            num_batches: Micro-batches of a partial epoch, from its start; None: all.
        """
        whole = self.plan.batches_per_epoch(self.num_videos)
        self.epoch, self.first_batch = epoch, first_batch
        self.end_batch = whole if num_batches is None else min(num_batches, whole)

    def __len__(self) -> int:
        """Return the number of remaining micro-batches of the epoch."""
        return self.end_batch - self.first_batch

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        """Yield the remaining micro-batches of the epoch."""
        order = self.order(np.random.default_rng((*self.seed, self.epoch)))
        earlier = count_earlier(order)
        size = self.plan.micro_batch
        for number in range(self.first_batch, self.end_batch):
            begin = (number * self.plan.world_size + self.rank) * size
            pairs = zip(order[begin : begin + size].tolist(), earlier[begin : begin + size].tolist(), strict=True)
            yield [(self.epoch, video, *((repeat,) if repeat else ())) for video, repeat in pairs]
