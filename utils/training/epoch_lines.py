"""The lines of log.jsonl, which training writes, for those who read them. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.jsonl import read_lines

EPOCHS_FILE = "log.jsonl"
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
