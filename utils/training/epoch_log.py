"""What training says of its epochs: a line each in log.jsonl, and TensorBoard curves."""

import time
from pathlib import Path
from typing import Any

from utils.jsonl import LineFile
from utils.training.checkpoint import Position
from utils.training.epoch_lines import ANEW, EPOCHS_FILE


class EpochLog:
    """One line per epoch in run_dir/log.jsonl, and the same numbers for TensorBoard; rank 0 writes.

    A line is written before its checkpoint, so a run killed in between finds a line too many when it continues:
    `rewind`, which comes first, drops the lines of epochs that are trained again.
    """

    def __init__(self, run_dir: Path) -> None:
        """Keep the folder; `rewind` opens the file."""
        self.run_dir = run_dir
        self._file: LineFile | None = None
        self._writer: Any = None

    def rewind(self, position: Position) -> None:
        """Open the log and drop the lines of epochs at or after a position; on rank 0 only.

        Raises:
            LineFileError: It is damaged.
        """
        self._file = LineFile(self.run_dir / EPOCHS_FILE, anew=ANEW)
        reached = (position.state, position.epoch)
        kept = sum((line["state"], line["epoch"]) <= reached for line in self._file.lines)
        if kept < len(self._file.lines):
            self._file.keep(kept)

    def write(self, line: dict[str, Any], *, total_epoch: float) -> None:
        """Append an epoch's line; on rank 0 only.

        Args:
            line: `state` (index), `epoch` (epochs of the state that are complete) and numbers.
            total_epoch: Epochs over all states; TensorBoard, which knows whole numbers only, counts the lines.
        """
        assert self._file is not None  # `rewind` has opened it
        self._file.append({**line, "total_epoch": total_epoch, "time": time.strftime("%Y-%m-%d %H:%M:%S")})
        count = len(self._file.lines)
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import: only when there is an epoch

            self._writer = SummaryWriter(str(self.run_dir / "tensorboard"), purge_step=count)
        for name, value in line.items():
            if isinstance(value, int | float) and name not in ("state", "epoch"):
                self._writer.add_scalar(name, value, count)
        self._writer.flush()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines so far, of the run's earlier starts too; none on other ranks than 0."""
        return self._file.lines if self._file is not None else []

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()
