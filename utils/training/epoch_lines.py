"""Read the epochs of log.jsonl and add up their cost. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.config import RunConfig
from utils.jsonl import read_lines

EPOCHS_FILE = "log.jsonl"
STOPPED_EARLY = "stopped_early"  # key in the line of an epoch after which its state ended early
REMEDY = "move it away: the run continues without the curves of the epochs in it"


@dataclass(frozen=True)
class EpochTraining:
    """Training statistics of an epoch, under the keys of log.jsonl and of a search's journal.

    Attributes:
        train_loss: Mean loss of the clips.
        learning_rate: Rate of the last step.
        precision: Type of the forward pass, e.g. "float32".
        clips_per_second: Clips trained on per second.
        data_wait_share: Fraction of the time spent waiting for the loader.
        num_frames: Frames per clip.
        skipped: Unreadable videos that were replaced.
    """

    train_loss: float
    learning_rate: float
    precision: str
    clips_per_second: float
    data_wait_share: float
    num_frames: int
    skipped: int


def read_epochs(run_dir: Path) -> list[dict[str, Any]]:
    """Read the complete lines of log.jsonl; none if nothing was trained.

    Raises:
        LineFileError: The file is corrupt.
    """
    return read_lines(run_dir / EPOCHS_FILE, remedy=REMEDY)


def reached_epochs(config: RunConfig, line: Mapping[str, Any]) -> float:
    """Return the record's epochs completed at a line; after a state that stopped early, all epochs of that state."""
    return config.epochs_before(line["state"] + 1) if line.get(STOPPED_EARLY) else line["total_epoch"]


@dataclass(frozen=True)
class TrainingCost:
    """The cost of training.

    Attributes:
        seconds: Duration of the training steps, loading included.
        clips: Clips trained on.
        frames: Frames of these clips.
        multiply_adds: Multiply-adds of their forward passes, as model.summary counts them; None if an epoch's line has
            none.
    """

    seconds: float
    clips: int
    frames: int
    multiply_adds: int | None

    def __str__(self) -> str:
        """Return the cost in words."""
        text = f"{self.seconds:,.1f} s, {self.clips:,} clips, {self.frames:,} frames"
        if self.multiply_adds is None:
            return text
        size, unit = (1e12, "T") if self.multiply_adds >= 1e12 else (1e9, "G")
        return f"{text}, {self.multiply_adds / size:,.3g} {unit} multiply-adds forward"


def have_costs(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether there are lines and all contain their cost; those of early versions do not."""
    return bool(lines) and all({"seconds", "clips", "num_frames"} <= line.keys() for line in lines)


def add_up_costs(lines: Sequence[Mapping[str, Any]]) -> TrainingCost:
    """Return the total cost of the epochs of these lines."""
    counts = [line.get("multiply_adds") for line in lines]
    return TrainingCost(
        seconds=sum(line["seconds"] for line in lines),
        clips=sum(line["clips"] for line in lines),
        frames=sum(line["clips"] * line["num_frames"] for line in lines),
        multiply_adds=None if None in counts else sum(count for count in counts if count is not None),
    )


def costs_of_states(lines: Sequence[Mapping[str, Any]]) -> dict[int, TrainingCost]:
    """Return the cost of every state by its index, from 0."""
    states = dict.fromkeys(line["state"] for line in lines)
    return {state: add_up_costs([line for line in lines if line["state"] == state]) for state in states}
