"""The lines of log.jsonl, which training writes, for those who read them. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.config import RunConfig
from utils.jsonl import read_lines

EPOCHS_FILE = "log.jsonl"
STOPPED_EARLY = "stopped_early"  # in the line of an epoch after which its state was over before its last one
ANEW = "move it away: the run goes on without the curves of the epochs in it"


@dataclass(frozen=True)
class EpochTraining:
    """How an epoch was trained, field by field as log.jsonl and the journal of a search have it."""

    train_loss: float
    learning_rate: float
    precision: str
    clips_per_second: float
    data_wait_share: float
    num_frames: int
    skipped: int


def read_epochs(run_dir: Path) -> list[dict[str, Any]]:
    """Read the whole lines of log.jsonl, none when nothing was trained.

    Raises:
        LineFileError: It is damaged.
    """
    return read_lines(run_dir / EPOCHS_FILE, anew=ANEW)


def reached_epochs(config: RunConfig, line: Mapping[str, Any]) -> float:
    """Return how far in the epochs of a record a line is; behind a state that has stopped early, that is its end."""
    return config.epochs_before(line["state"] + 1) if line.get(STOPPED_EARLY) else line["total_epoch"]


@dataclass(frozen=True)
class TrainingCost:
    """What training has taken.

    Attributes:
        seconds: Of training steps, loading included.
        clips: Trained on.
        frames: In these clips.
        multiply_adds: Of their forward passes, as model.summary counts them; None where an epoch does not say them.
    """

    seconds: float
    clips: int
    frames: int
    multiply_adds: int | None

    def __str__(self) -> str:
        """Say it in words."""
        text = f"{self.seconds:,.1f} s, {self.clips:,} clips, {self.frames:,} frames"
        if self.multiply_adds is None:
            return text
        size, unit = (1e12, "T") if self.multiply_adds >= 1e12 else (1e9, "G")
        return f"{text}, {self.multiply_adds / size:,.3g} {unit} multiply-adds forward"


def say_costs(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether there are lines, and all say what their epochs have taken: those of early versions do not."""
    return bool(lines) and all({"seconds", "clips", "num_frames"} <= line.keys() for line in lines)


def add_up_costs(lines: Sequence[Mapping[str, Any]]) -> TrainingCost:
    """Return what the epochs of these lines have taken together."""
    counts = [line.get("multiply_adds") for line in lines]
    return TrainingCost(
        seconds=sum(line["seconds"] for line in lines),
        clips=sum(line["clips"] for line in lines),
        frames=sum(line["clips"] * line["num_frames"] for line in lines),
        multiply_adds=None if None in counts else sum(count for count in counts if count is not None),
    )


def costs_of_states(lines: Sequence[Mapping[str, Any]]) -> dict[int, TrainingCost]:
    """Return what every state has taken, by its number from 0."""
    states = dict.fromkeys(line["state"] for line in lines)
    return {state: add_up_costs([line for line in lines if line["state"] == state]) for state in states}
