"""What training says of its epochs: a JSON line each, and TensorBoard curves."""

import json
import time
from pathlib import Path
from typing import Any

from utils import distributed
from utils.files import append_text, write_text_atomically
from utils.training.checkpoint import Position
from utils.training.epoch_lines import EPOCHS_FILE, read_epochs


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
