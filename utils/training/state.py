"""Train a state epoch by epoch, and write its log lines and checkpoints.

`helpers.make_state_trainer` assembles a state's trainer; train_3d.py trains the states of a record with them.
"""

import contextlib
import dataclasses
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from tqdm import tqdm

from utils import distributed
from utils.config import RunConfig, StateConfig
from utils.errors import UserError
from utils.shortage import ShortageError, is_out_of_memory
from utils.text import printable
from utils.training import run_folder
from utils.training.averaging import WeightAverage, recalculate_statistics
from utils.training.batches import EpochBatches
from utils.training.checkpoint import CLASS_NAMES, Position, load_checkpoint, save_checkpoint
from utils.training.engine import EpochTotals, Learner, StepHooks, ValidationScore, evaluate, train_epoch
from utils.training.epoch_lines import STOPPED_EARLY, EpochTraining, add_up_costs, costs_of_states, have_costs
from utils.training.epoch_log import EpochLog
from utils.training.precision import precision_name

_SINGLE_VALUE_ERROR = "more than 1 value per channel"  # from torch's error message


class BatchSizeError(UserError):
    """Batches are too small for batch norm."""


class StepRecord(Protocol):
    """Writer of checkpoints within an epoch."""

    def save(self, learner: Learner, position: Position, totals: EpochTotals | None) -> None:
        """Write a checkpoint at a position; `totals` are the sums of an incomplete epoch, None at the end of one."""


def checkpoint_content(learner: Learner, totals: EpochTotals | None) -> dict[str, Any]:
    """Return the learner's entries of a resumable checkpoint; a collective call of all ranks.

    Args:
        learner: The state in training.
        totals: Sums of an incomplete epoch, within which every rank has running statistics of its own; None at the end
            of an epoch.
    """
    if totals is None:
        return {**learner.state_dict(), "totals": None}
    return {**learner.state_dict(), **learner.rank_statistics(), "totals": dataclasses.asdict(totals)}


def restore(learner: Learner, content: dict[str, Any]) -> EpochTotals:
    """Restore a learner from `checkpoint_content`; return this rank's part of the totals."""
    learner.load_state_dict(content)
    return EpochTotals.of_rank(content["totals"])


def describe_training(learner: Learner, totals: EpochTotals, *, num_frames: int) -> EpochTraining:
    """Return an epoch's entries of log.jsonl: loss, rate, precision, speed.

    Args:
        learner: The state in training.
        totals: Sums over the epoch and all ranks.
        num_frames: Frames per clip.
    """
    return EpochTraining(
        train_loss=totals.loss_sum / totals.clips,
        learning_rate=learner.last_rate,
        precision=precision_name(learner.dtype),
        clips_per_second=totals.clips / totals.seconds,
        data_wait_share=totals.waiting / totals.seconds,
        num_frames=num_frames,
        skipped=totals.skipped,
    )


class TrainingRecord:
    """Writer of the files of a run: current.pth, numbered checkpoints, log.txt and log.jsonl."""

    def __init__(self, config: RunConfig, log: logging.Logger, *, list_sha256: str, class_names: Sequence[str]) -> None:
        """Start recording a run.

        Args:
            config: The record; a budget has been converted to epochs.
            log: Log of the run.
            list_sha256: SHA-256 of the training list's content.
            class_names: Class names in the order of the logits.
        """
        self.config, self.log, self.list_sha256, self.class_names = config, log, list_sha256, list(class_names)
        self.epochs = EpochLog(config.run_dir)
        self.start_weights = ""

    def read(self) -> tuple[dict[str, Any] | None, Position]:
        """Return the checkpoint to resume from (None: a new run) and its position, the same on every rank.

        Raises:
            UserError: The checkpoint is not of this record, was trained on another list, or a file is corrupt.
        """
        return distributed.decide_on_main(self._read)

    def _read(self) -> tuple[dict[str, Any] | None, Position]:
        self.start_weights = run_folder.describe_start(self.config)
        path, content, position = self.config.weights_path, None, Position()
        if path.exists():
            content, position = load_checkpoint(path)
            position = run_folder.find_position(
                self.config, content, position, list_sha256=self.list_sha256, start_weights=self.start_weights
            )
            self.start_weights = self.start_weights or content.get("start_weights", "")
        self.epochs.rewind(position)
        run_folder.save_config(self.config)
        return content, position

    def close(self) -> None:
        """Close the files of the epoch log."""
        self.epochs.close()

    def save(
        self, learner: Learner, position: Position, totals: EpochTotals | None, *, name: str = "current.pth"
    ) -> None:
        """Write a checkpoint at a position; `totals` are the sums of an incomplete epoch, None at the end of one."""
        content = {
            **checkpoint_content(learner, totals),
            "config": self.config.to_dict(),
            "list_sha256": self.list_sha256,
            "start_weights": self.start_weights,
            CLASS_NAMES: self.class_names,
        }
        path = self.config.run_dir / name
        distributed.decide_on_main(lambda: save_checkpoint(path, content, position=position))

    def finish_epoch(
        self, learner: Learner, position: Position, totals: EpochTotals, score: ValidationScore | None
    ) -> None:
        """Log a complete epoch, then save it; after a kill between the two, `read` drops the log line again."""
        state = self.config.states[position.state]
        self.log.info(_describe_epoch(position.epoch, learner.length.num_epochs, totals, score))
        for note in totals.notes:
            self.log.info(f"  {note}")
        line: dict[str, Any] = {
            "state": position.state,
            "epoch": position.epoch,
            **vars(describe_training(learner, totals, num_frames=state.num_frames)),
            "clips": totals.clips,
            "seconds": totals.seconds,
            "multiply_adds": totals.clips * learner.multiply_adds,
        }
        if score is not None:
            line |= {f"eval_{name}": value for name, value in dataclasses.asdict(score).items()}
        is_last, is_over = position.epoch == learner.length.num_epochs, learner.is_over(position.epoch)
        if learner.best is not None:
            line |= {"best_epoch": learner.best.epoch} | ({STOPPED_EARLY: True} if is_over and not is_last else {})
        before, end = (self.config.epochs_before(position.state + more) for more in (0, 1))
        total = end if is_last else before + position.epoch
        distributed.decide_on_main(lambda: self.epochs.write(line, total_epoch=total))
        after = position.next_state() if is_over else position
        if is_over:
            self._log_end(position, learner)
            learner.finish()
        self.save(learner, after, None)
        if self.config.logging.save_freq and position.epoch % self.config.logging.save_freq == 0:
            self.save(learner, after, None, name=f"state{position.state + 1}_epoch{position.epoch:03d}.pth")

    def _log_end(self, position: Position, learner: Learner) -> None:
        """Log the epoch whose weights a state ends with, its cost, and that of the run so far."""
        state, best, lines = position.state, learner.best, self.epochs.lines  # of rank 0
        if best is not None:
            is_last = position.epoch == learner.length.num_epochs
            early = "" if is_last else f" after {best.patience} epochs without improvement,"
            score = f"top-1 {best.score[0]:.2f}% of the held-out videos"
            self.log.info(f"state {state + 1} ends{early} with the weights of epoch {best.epoch}: {score}")
        if have_costs(lines):
            whole = f"; all states so far: {add_up_costs(lines)}" if state else ""
            self.log.info(f"state {state + 1} took {costs_of_states(lines)[state]}{whole}")


def _describe_epoch(epoch: int, epochs: int, totals: EpochTotals, score: ValidationScore | None) -> str:
    text = f"epoch {epoch}/{epochs}: loss {totals.loss_sum / totals.clips:.4f}, {totals.seconds:.1f} s"
    text += f", {totals.clips / totals.seconds:.1f} clips/s, waiting for data {totals.waiting / totals.seconds:.0%}"
    if score is not None:
        text += f"; 1 clip, center crop: top-1 {score.top1:.2f}%, top-3 {score.top3:.2f}%, top-5 {score.top5:.2f}%"
        text += f" of {score.videos} videos" + (f", {score.missing} unreadable" if score.missing else "")
    return text + (f"; {totals.skipped} unreadable videos replaced" if totals.skipped else "")


@contextlib.contextmanager
def explain_step_errors(config: RunConfig, state: StateConfig) -> Iterator[None]:
    """Convert errors of a training step into ones that say which settings to change.

    Raises:
        ShortageError: Out of memory; names settings that need less and keep the steps.
        BatchSizeError: A batch norm got one value per channel: a single clip whose last feature map is one point.
    """
    try:
        yield
    except ValueError as error:
        if _SINGLE_VALUE_ERROR not in str(error):
            raise
        found = f"sampler.batch_size {state.batch_size} with clips of {state.num_frames} frames"
        raise BatchSizeError(
            f"{found}: the network's last feature map is a single point, so batch norm has one value per channel; "
            "raise sampler.batch_size (and lower sampler.iter_size), or use larger clips"
        ) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        size, count = state.batch_size, state.iter_size
        ways = [] if config.network.checkpoint_blocks else ["network.checkpoint_blocks=true trains the same weights"]
        if part := next((number for number in range(2, size + 1) if size % number == 0), 0):
            change = f"sampler.batch_size {size} -> {size // part}, sampler.iter_size {count} -> {count * part}"
            ways.append(f"{change} keeps the step (only for a new run: batch norm sees fewer clips)")
        ways.append("shorter clips or smaller crops need less")
        found = f"{size} clips of {state.num_frames} frames at a time"
        raise ShortageError(f"out of memory with {found}: {'; '.join(ways)}") from None


class StateTrainer:
    """The trainer of one state of a record: learner, training loader and validation loader."""

    def __init__(
        self,
        config: RunConfig,
        index: int,
        *,
        learner: Learner,
        loader: Iterable[Any],
        batches: EpochBatches,
        validation: Iterable[Any] | None,
        title: str = "",
    ) -> None:
        """Assemble the trainer of a state.

        Args:
            config: The record.
            index: Index of the state, from 0.
            learner: Network, optimizer and settings.
            loader: Yields the micro-batches that `batches` selects.
            batches: The micro-batches of this rank.
            validation: The validation loader; None: no validation.
            title: Title of the progress bar; "": the state's number.
        """
        self.config, self.index, self.state = config, index, config.states[index]
        self.title = title or f"state {index + 1}"
        self.learner, self.loader, self.batches, self.validation = learner, loader, batches, validation

    def describe(self) -> str:
        """Return a one-line description of the state."""
        place = f"state {self.index + 1} of {len(self.config.states)}"
        return f"{place}: {self.describe_setting()}, {self.state.epochs:g} epochs"

    def describe_setting(self) -> str:
        """Return the state's input, learning rate and steps in words."""
        state, plan = self.state, self.learner.plan
        stages, frozen = self.config.optimizer.frozen_stages, ", batch norm frozen" if state.frozen_bn else ""
        frozen += f", first {stages} stages frozen" if stages else ""
        rate = self.config.sampler.frame_rate
        at_rate = f" at {rate:g} per second" if rate else ""
        return (
            f"clips of {state.num_segments} x {state.clip_length} frames, every {state.num_steps}{at_rate}, "
            f"{state.crop_size} px; rate {state.base_learning_rate:g}; "
            f"{self.learner.length.steps_per_epoch} steps per epoch of "
            f"{plan.micro_batch} clips x {plan.micro_batches} micro-batches x {plan.world_size} processes{frozen}"
        )

    def train(self, record: TrainingRecord, position: Position, totals: EpochTotals) -> None:
        """Train and record the epochs from a position to the end of the state."""
        is_over = self.learner.is_over(position.epoch)
        while not is_over:
            totals = self.train_epoch(position, totals, record).merged()
            position = position.next_epoch()
            score = self.score(position.epoch)
            is_over = self.learner.is_over(position.epoch)
            record.finish_epoch(self.learner, position, totals, score)
            totals = EpochTotals()

    def train_epoch(self, position: Position, totals: EpochTotals, record: "StepRecord") -> EpochTotals:
        """Train the epoch at a position, or the rest of it, with a progress bar; return this rank's totals.

        With optimizer.precise_bn, the first epoch after a state change starts by recomputing batch norm statistics.
        """
        if self.index > 0 and position.epoch == position.step == 0 and self.config.optimizer.precise_bn:
            self.recalculate_statistics()
        length, count = self.learner.length, self.learner.plan.micro_batches
        steps = length.steps_of_epoch(position.epoch)
        self.batches.start(position.epoch, first_batch=position.step * count, num_batches=steps * count)
        name = printable(f"{self.title} epoch {position.epoch + 1}/{length.num_epochs}")
        with tqdm(total=steps, initial=position.step, desc=name, unit="step", disable=not distributed.is_main()) as bar:

            def report(done: int, line: dict[str, float]) -> None:
                bar.set_postfix_str(
                    f"loss {line['loss']:.3f}, rate {line['rate']:.2g}, {line['clips_per_second']:.1f} clips/s, "
                    f"waiting {line['data_wait']:.0%}",
                    refresh=False,
                )
                bar.update(done - bar.n)

            def save(done: int, so_far: EpochTotals) -> None:
                record.save(self.learner, dataclasses.replace(position, step=done), so_far.merged())

            with explain_step_errors(self.config, self.state):
                return train_epoch(
                    self.learner,
                    self.loader,
                    epoch=position.epoch,
                    first_step=position.step,
                    totals=totals,
                    hooks=StepHooks(report, self.config.logging.print_freq, save, self.config.logging.save_steps),
                )

    def score(self, epochs_done: int) -> ValidationScore | None:
        """Run validation if it is due: every eva_inter_freq epochs and at the end of the state."""
        due = epochs_done == self.learner.length.num_epochs or epochs_done % self.config.optimizer.eva_inter_freq == 0
        if self.validation is None or not due:
            with self.learner.evaluation_weights():  # every epoch ends with the same running statistics on all ranks
                return None
        score, best = self.evaluate(), self.learner.best
        if best is not None:
            best.update(epochs_done, distributed.broadcast_object(score), weights=self.learner.result())
        return score

    def evaluate(self) -> ValidationScore:
        """Return the accuracies of the current weights on the validation list.

        Raises:
            DivergedError: A score is not finite.
        """
        assert self.validation is not None
        with self.learner.evaluation_weights():
            return evaluate(self.learner, self.validation, num_classes=self.config.dataset.num_classes)

    def recalculate_statistics(self) -> None:
        """Recompute the running statistics of batch norm on the first clips of this state (optimizer.precise_bn)."""
        self.batches.start(0)
        learner, count = self.learner, self.config.optimizer.precise_bn
        recalculate_statistics(
            learner.network,
            (batch.clips for batch in itertools.islice(self.loader, count)),
            normalize=learner.normalize,
            dtype=learner.dtype,
            device=learner.device,
        )
        distributed.average_buffers(learner.network)
        if learner.average is not None:
            learner.average = WeightAverage(learner.network, decay=learner.average.decay)
