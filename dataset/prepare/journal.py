"""What a long command has done already, a line each, so that the same command goes on after a kill."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.jsonl import open_identified


class Journal:
    """Values by key; a truncated last line is dropped, that work is done again."""

    def __init__(self, path: Path, *, header: Mapping[str, Any]) -> None:
        """Open a journal, or begin it.

        Args:
            path: Of the file; its folder is made.
            header: What the work is done with; a journal of other work is refused.

        Raises:
            LineFileError: It is of other work, damaged, or the disk refused.
        """
        anew = "move it away to do all anew, or take another folder"
        self._file, lines = open_identified(path, header, work="command", anew=anew, sync_seconds=5.0)
        self._values = {line["key"]: line["value"] for line in lines}

    def __contains__(self, key: str) -> bool:
        """Return whether something is done."""
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        """Return the value that was noted."""
        return self._values[key]

    def put(self, key: str, value: Any) -> None:
        """Note that something is done.

        Raises:
            LineFileError: The disk is full.
        """
        self._file.append({"key": key, "value": value})
        self._values[key] = value
