"""Log epochs: a line each in log.jsonl, and TensorBoard curves."""

import time
from pathlib import Path
from typing import Any

from utils.jsonl import LineFile
from utils.training.checkpoint import Position
from utils.training.epoch_lines import EPOCHS_FILE, REMEDY


class EpochLog:
    """Writer of one line per epoch to run_dir/log.jsonl, and of the same numbers to TensorBoard, on rank 0.

    A line is written before its checkpoint, so a run killed in between resumes with one line too many. `rewind`, which
    must be called first, drops the lines of epochs that will be trained again.
    """

    def __init__(self, run_dir: Path) -> None:
        """Set the folder; `rewind` opens the file."""
        self.run_dir = run_dir
        self._file: LineFile | None = None
        self._writer: Any = None

    def rewind(self, position: Position) -> None:
        """Open the log and drop the lines of epochs after a position; on rank 0 only.

        Raises:
            LineFileError: The file is corrupt.
        """
        self._file = LineFile(self.run_dir / EPOCHS_FILE, remedy=REMEDY)
        reached = (position.state, position.epoch)
        kept = sum((line["state"], line["epoch"]) <= reached for line in self._file.lines)
        if kept < len(self._file.lines):
            self._file.keep(kept)

    def write(self, line: dict[str, Any], *, total_epoch: float) -> None:
        """Append an epoch's line; on rank 0 only.

        Args:
            line: `state` (index), `epoch` (complete epochs of the state) and statistics.
            total_epoch: Epochs over all states. TensorBoard takes integer steps only, so its steps are line numbers.
        """
        assert self._file is not None  # opened by `rewind`
        self._file.append({**line, "total_epoch": total_epoch, "time": time.strftime("%Y-%m-%d %H:%M:%S")})
        count = len(self._file.lines)
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # 1 s to import: only if there is an epoch to log

            self._writer = SummaryWriter(str(self.run_dir / "tensorboard"), purge_step=count)
        for name, value in line.items():
            if isinstance(value, int | float) and name not in ("state", "epoch"):
                self._writer.add_scalar(name, value, count)
        self._writer.flush()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines so far, including those before a resume; none on ranks other than 0."""
        return self._file.lines if self._file is not None else []

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()
