"""What a run says: lines on the screen and in log.txt, one JSON line per epoch, TensorBoard curves."""

import json
import logging
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils import distributed
from utils.checkpoint import Position
from utils.files import append_text, write_text_atomically
from utils.report import EPOCHS_FILE, read_epochs


class _ScreenHandler(logging.Handler):
    """Prints above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record))


class _FileHandler(logging.Handler):
    """Appends to a file that is open only while a line is written: nothing to close, and the folder may be moved."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        append_text(self.path, self.format(record) + "\n")


def open_log(run_dir: Path, script: str) -> logging.Logger:
    """Return the logger of a script: rank 0 writes to the screen and to run_dir/log.txt, other ranks stay silent."""
    logger = logging.getLogger(f"planning.{script}")
    logger.propagate = False
    logger.handlers.clear()
    logger.setLevel(logging.INFO if distributed.is_main() else logging.CRITICAL)
    if not distributed.is_main():
        logger.addHandler(logging.NullHandler())
        return logger
    run_dir.mkdir(parents=True, exist_ok=True)
    screen, file = _ScreenHandler(), _FileHandler(run_dir / "log.txt")
    screen.setFormatter(logging.Formatter("%(message)s"))
    file.setFormatter(logging.Formatter(f"%(asctime)s {script}: %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logger.addHandler(screen)
    logger.addHandler(file)
    return logger


class EpochLog:
    """One JSON line per epoch in run_dir/log.jsonl, and the same numbers for TensorBoard; rank 0 writes.

    A line is written before its checkpoint, so a run killed in between finds a line too many when it continues:
    `rewind` drops the lines of epochs that are trained again.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / EPOCHS_FILE
        self.run_dir = run_dir
        self._writer: Any = None

    def rewind(self, position: Position) -> None:
        """Drop the lines of epochs at or after a position."""
        if not distributed.is_main() or not self.path.exists():
            return
        kept = [
            line
            for line in read_epochs(self.run_dir)
            if (line["state"], line["epoch"]) <= (position.state, position.epoch)
        ]
        write_text_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: dict[str, Any], *, total_epoch: int) -> None:
        """Append an epoch's line.

        Args:
            line: `state` (index), `epoch` (epochs of the state that are complete) and numbers.
            total_epoch: Epochs over all states, the x axis of the curves.
        """
        if not distributed.is_main():
            return
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        append_text(self.path, json.dumps({**line, "total_epoch": total_epoch, "time": now}) + "\n")
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import: only when there is an epoch

            self._writer = SummaryWriter(str(self.run_dir / "tensorboard"), purge_step=total_epoch)
        for name, value in line.items():
            if isinstance(value, int | float) and name not in ("state", "epoch"):
                self._writer.add_scalar(name, value, total_epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()
