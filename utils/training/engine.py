"""The training loop of an epoch and the validation loop, independent of data sets and configurations."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from utils import distributed, stopping
from utils.errors import UserError
from utils.metrics import ValidationScore, label_ranks, top_k_hits
from utils.training.averaging import WeightAverage
from utils.training.batches import StateLength, StepPlan
from utils.training.precision import autocast
from utils.training.selection import BestEpoch


class TrainingError(UserError):
    """Training cannot continue: the loss is not finite, or some weights do not contribute to it."""


class DivergedError(TrainingError):
    """The loss or the scores are NaN or infinite; raised on all ranks together."""


@dataclass
class Learner:
    """Network, optimizer, schedule and settings that train one state.

    Attributes:
        network: The network.
        model: The network as it is called in training: itself, or wrapped in DistributedDataParallel.
        optimizer: Its groups have a `rate_factor`, which multiplies the rate.
        scaler: Gradient scaler; disabled unless the precision is fp16.
        rate: Learning rate of an (epoch, step), both counted from 0.
        length: Length of the state.
        plan: Micro-batches of a step.
        criterion: (logits of every head, targets) to loss.
        normalize: uint8 clips to network input.
        mix: Mixup of (clips, labels); None: none.
        dtype: Autocast type; None is float32.
        device: Device of the network.
        loss_weight: Factor of the loss.
        clip_gradient: Largest norm of the gradient; 0: no clipping.
        seed: With (epoch, step, rank), the seed of a step.
        num_videos: Videos of the training list.
        average: Average of the weights, evaluated in their place; None: none.
        best: Weights of the best epoch; None: the last epoch counts.
        multiply_adds: Multiply-adds of a clip's forward pass; 0: not counted.
    """

    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    rate: Callable[[int, int], float]
    length: StateLength
    plan: StepPlan
    criterion: nn.Module
    normalize: Callable[[torch.Tensor], torch.Tensor]
    mix: Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]] | None
    dtype: torch.dtype | None
    device: torch.device
    loss_weight: float
    clip_gradient: float
    seed: tuple[int, ...]
    num_videos: int
    average: WeightAverage | None = None
    best: BestEpoch | None = None
    multiply_adds: int = 0

    @property
    def last_rate(self) -> float:
        """The learning rate of the last step, before the factors of parameter groups."""
        group = self.optimizer.param_groups[0]
        return group["lr"] / group["rate_factor"]

    def state_dict(self) -> dict[str, Any]:
        """Return the learner's entries of a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **(self.average.state_dict() if self.average is not None else {}),
            **(self.best.state_dict() if self.best is not None else {}),
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Restore the learner from a checkpoint of the same state."""
        self.network.load_state_dict(content["network"])
        self.load_momenta(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        if self.average is not None:
            self.average.load_state_dict(content)
        if self.best is not None:
            self.best.load_state_dict(content)
        if saved := content.get("rank_statistics"):
            same = len(saved) == distributed.world_size()
            means = (torch.stack(ranks).mean(0) for ranks in zip(*saved, strict=True))
            own = saved[distributed.rank()] if same else means
            for tensor, value in zip(self._statistics(), own, strict=True):
                tensor.copy_(value)

    def load_momenta(self, optimizer: dict[str, Any]) -> None:
        """Load the momenta of an optimizer's `state_dict`, this state's or the previous one's."""
        self.optimizer.load_state_dict(optimizer)
        _match_memory_format(self.optimizer)

    def _statistics(self) -> list[torch.Tensor]:
        """Return the running statistics of the network and of its average; they differ by rank within an epoch."""
        names = [name for name, buffer in self.network.named_buffers() if buffer.is_floating_point()]
        averages = [self.average.average[name] for name in names] if self.average is not None else []
        return [self.network.get_buffer(name) for name in names] + averages

    def rank_statistics(self) -> dict[str, Any]:
        """Return the running statistics of every rank, for a checkpoint within an epoch; {} for one process."""
        if distributed.world_size() == 1:
            return {}
        return {"rank_statistics": distributed.gather_objects([tensor.cpu() for tensor in self._statistics()])}

    def result(self) -> dict[str, torch.Tensor]:
        """Return the weights to evaluate and to pass to the next state: the average if there is one."""
        return self.average.average if self.average is not None else self.network.state_dict()

    def is_over(self, epoch: int) -> bool:
        """Return whether the state ends after `epoch` epochs."""
        return epoch >= self.length.num_epochs or (self.best is not None and self.best.is_over(epoch))

    def finish(self) -> None:
        """End the state: load the weights of `result`, or those of the best epoch, into the network."""
        if self.average is not None:
            self.average.swap()
            self.average = None
        if self.best is not None:
            self.network.load_state_dict(self.best.weights)
            self.best = None

    @contextlib.contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Load the weights of `result` for the block, with the same running statistics on all ranks."""
        distributed.average_buffers(self.network)
        if self.average is None:
            yield
            return
        with self.average.swapped_in():
            distributed.average_buffers(self.network)
            yield


def _match_memory_format(optimizer: torch.optim.Optimizer) -> None:
    """Convert momenta to the memory format of their weights.

    A checkpoint keeps the memory format it was written in, e.g. on a GPU, and torch's fused CPU optimizers read raw
    memory: with another format they would pair momenta with the wrong weights.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


@dataclass
class EpochTotals:
    """Sums over the part of an epoch that this process has trained; `merged` sums over all processes.

    Attributes:
        loss_sum: Sum of the losses of the clips.
        clips: Clips trained on.
        skipped: Unreadable videos that were replaced.
        seconds: Duration of the steps, loading included.
        waiting: Seconds spent waiting for the loader.
        notes: Messages of the loader on its videos.
    """

    loss_sum: float = 0.0
    clips: int = 0
    skipped: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_rank(cls, saved: dict[str, Any] | None) -> "EpochTotals":
        """Return this rank's part of a checkpoint's totals (None: start of an epoch); rank 0 takes the sums."""
        if saved is None:
            return cls()
        if distributed.is_main():
            return cls(**saved)
        return cls(seconds=saved["seconds"], waiting=saved["waiting"])

    def next_batch(self, batches: Iterator[Any]) -> Any:
        """Return the next batch, and add its clips and the time spent waiting for it to the totals."""
        waited = time.perf_counter()
        batch = next(batches)
        self.waiting += time.perf_counter() - waited
        self.clips += len(batch.labels)
        self.skipped += batch.skipped
        self.notes.extend(batch.notes)
        return batch

    def merged(self) -> "EpochTotals":
        """Return the totals over all processes: sums of clips and losses, means of times."""
        everyone = distributed.gather_objects(self)
        count = len(everyone)
        return EpochTotals(
            loss_sum=sum(one.loss_sum for one in everyone),
            clips=sum(one.clips for one in everyone),
            skipped=sum(one.skipped for one in everyone),
            seconds=sum(one.seconds for one in everyone) / count,
            waiting=sum(one.waiting for one in everyone) / count,
            notes=sorted({note for one in everyone for note in one.notes}),
        )


def step_seed(seed: tuple[int, ...], *, epoch: int, step: int) -> int:
    """Return the torch seed of a step on this rank (dropout, mixup), independent of everything that ran before."""
    sequence = np.random.SeedSequence((*seed, epoch, step, distributed.rank()))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def _seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on a device uses.

    `torch.manual_seed` formats the call stack for every device type not in use, which takes 0.2 to 1 ms.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@dataclass(frozen=True)
class StepHooks:
    """Callbacks between the steps of an epoch.

    Attributes:
        report: Called every `report_every` steps and after the last one, with the number of completed steps and the
            values to show; the loss is checked for NaN and infinity as often.
        report_every: Steps between reports.
        save: Called with the number of completed steps and the totals so far: every `save_every` steps, when the run
            is asked to stop, and after the last step, so that a stop during validation does not lose the epoch.
        save_every: Steps between checkpoints within the epoch; 0: none.
    """

    report: Callable[[int, dict[str, float]], None]
    report_every: int
    save: Callable[[int, EpochTotals], None]
    save_every: int


def train_epoch(
    learner: Learner, batches: Iterable[Any], *, epoch: int, first_step: int, totals: EpochTotals, hooks: StepHooks
) -> EpochTotals:
    """Train an epoch, or the rest of one; return the totals of the whole epoch on this rank.

    Args:
        learner: Network, optimizer and settings.
        batches: The micro-batches of this rank, starting at step `first_step`.
        epoch: Number of the epoch in its state, from 0.
        first_step: Optimizer steps of this epoch that are already complete.
        totals: Sums over those steps.
        hooks: Callbacks between the steps.

    Raises:
        TrainingError: The loss is not finite on some rank, or a weight has no gradient.
        Stopped: Some rank was asked to stop; all ranks have completed and saved the same steps.
    """
    learner.model.train()
    iterator, steps = iter(batches), learner.length.steps_of_epoch(epoch)
    loss_sum = torch.zeros((), device=learner.device, dtype=torch.float64)
    with stopping.deferred():
        for step in range(first_step, steps):
            began = time.perf_counter()
            loss_sum += _train_step(learner, iterator, epoch=epoch, step=step, totals=totals)
            done, last = step + 1, step + 1 == steps
            is_to_stop = distributed.any_rank(stopping.requested())
            reporting = last or done % hooks.report_every == 0
            saving = last or is_to_stop or (hooks.save_every > 0 and done % hooks.save_every == 0)
            if reporting or saving:  # the only synchronization with the device
                _require_finite(loss_sum, epoch=epoch, step=step)
                totals.loss_sum += loss_sum.item()
                loss_sum.zero_()
            totals.seconds += time.perf_counter() - began
            if reporting:
                hooks.report(done, _progress_line(learner, totals))
            if saving:
                hooks.save(done, totals)
            if is_to_stop:
                raise stopping.stopped(f"saved after step {done} of epoch {epoch + 1}")
    return totals


def _train_step(
    learner: Learner, batches: Iterator[Any], *, epoch: int, step: int, totals: EpochTotals
) -> torch.Tensor:
    """Accumulate the micro-batches of a step and update the weights; return the sum of losses over its clips."""
    _seed_generators(step_seed(learner.seed, epoch=epoch, step=step), learner.device)
    count = learner.plan.batches_of_step(step, learner.num_videos)
    rate = learner.rate(epoch, step)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    learner.optimizer.zero_grad(set_to_none=True)
    loss_sum = torch.zeros((), device=learner.device, dtype=torch.float64)
    for micro in range(count):
        batch = totals.next_batch(batches)
        clips = learner.normalize(batch.clips.to(learner.device, non_blocking=True))
        targets = batch.labels.to(learner.device, non_blocking=True)
        if learner.mix is not None:
            generator = torch.Generator().manual_seed(torch.initial_seed() + micro)
            clips, targets = learner.mix(clips, targets, generator)
        wait_for_last = micro + 1 < count and isinstance(learner.model, DistributedDataParallel)
        with learner.model.no_sync() if wait_for_last else contextlib.nullcontext():  # type: ignore[operator]
            with autocast(learner.device, learner.dtype):
                heads = learner.model(clips)
            loss = learner.criterion(heads, targets)
            learner.scaler.scale(loss * (learner.loss_weight / count)).backward()
        loss_sum += loss.detach().double() * len(batch.labels)
        if step == 0 and micro == 0:
            _require_gradients(learner.network)
    if learner.clip_gradient > 0:
        learner.scaler.unscale_(learner.optimizer)
        nn.utils.clip_grad_norm_(learner.network.parameters(), learner.clip_gradient)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    if learner.average is not None:
        learner.average.update()
    return loss_sum


def _require_gradients(network: nn.Module) -> None:
    unused = [name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None]
    if unused:
        shown = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        raise TrainingError(f"{len(unused)} weights do not contribute to the loss and would not be trained: {shown}")


def _require_finite(loss_sum: torch.Tensor, *, epoch: int, step: int) -> None:
    """Raise on all ranks if the loss of any rank is NaN or infinite."""
    broken = distributed.sum_over_ranks((~torch.isfinite(loss_sum)).float())
    if broken.item() > 0:
        raise DivergedError(
            f"the loss became NaN or infinite by step {step + 1} of epoch {epoch + 1}; lower "
            "optimizer.base_learning_rate, lengthen optimizer.warmup_epoch, or set optimizer.amp=off; "
            "the last checkpoint precedes it"
        )


def _progress_line(learner: Learner, totals: EpochTotals) -> dict[str, float]:
    return {
        "loss": totals.loss_sum / max(totals.clips, 1),
        "rate": learner.last_rate,
        "clips_per_second": totals.clips * learner.plan.world_size / max(totals.seconds, 1e-9),
        "data_wait": totals.waiting / max(totals.seconds, 1e-9),
    }


@torch.inference_mode()
def evaluate(learner: Learner, batches: Iterable[Any], *, num_classes: int) -> ValidationScore:
    """Return the accuracies over all ranks, each of which scores its part of a validation list.

    Args:
        learner: Its network is put into evaluation mode.
        batches: The batches of this rank.
        num_classes: Number of classes; top-3 and top-5 are those of `utils.metrics.counted_ranks`.

    Raises:
        DivergedError: A score is NaN or infinite.
        TrainingError: No video could be read.
    """
    learner.network.eval()
    # Videos correct at k = 1, 3, 5; videos; missing videos; videos with scores that are not finite.
    counts = torch.zeros(6, dtype=torch.float64, device=learner.device)
    for batch in batches:
        counts[4] += batch.skipped
        if len(batch.labels) == 0:
            continue
        clips = learner.normalize(batch.clips.to(learner.device, non_blocking=True))
        with autocast(learner.device, learner.dtype):
            logits = learner.network.fuse(learner.network(clips))  # type: ignore[operator]
        scores = logits.float().cpu()
        finite = torch.isfinite(scores).all(dim=1)
        counts[5] += (~finite).sum()
        ranks = label_ranks(scores[finite].numpy(), batch.labels[finite].numpy())
        counts[:3] += torch.tensor(list(top_k_hits(ranks, num_classes).values()), device=learner.device)
        counts[3] += len(batch.labels)
    right1, right3, right5, videos, missing, broken = distributed.sum_over_ranks(counts).tolist()
    if broken:
        raise DivergedError("the network's scores are NaN or infinite: its weights have diverged")
    if videos == 0:
        raise TrainingError("validation found no readable video in its list")
    top1, top3, top5 = (100.0 * right / videos for right in (right1, right3, right5))
    return ValidationScore(top1, top3, top5, (top1 + top3 + top5) / 3, int(videos), int(missing))
