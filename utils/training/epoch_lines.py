"""The lines of log.jsonl, which training writes, for those who read them. No torch."""

import json
from pathlib import Path
from typing import Any

EPOCHS_FILE = "log.jsonl"


def read_epochs(run_dir: Path) -> list[dict[str, Any]]:
    """Read the lines of log.jsonl that are whole (a kill may have torn the last one); none when nothing was trained."""
    path = run_dir / EPOCHS_FILE
    epochs: list[dict[str, Any]] = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            epochs.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return epochs
