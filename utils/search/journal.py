"""The journal of a search: one line per event, on the disk before the search goes on.

The first line says what is searched (graph, configuration, data); a journal of something else is refused by name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.jsonl import LineFile, open_identified

_ANEW = (
    "give this record a name of its own, or use --force (FORCE=1 with run.sh) to move the earlier search aside and "
    "start anew"
)


class Journal:
    """Events in the order they happened; every event is a flat JSON object."""

    def __init__(self, file: LineFile, events: list[dict[str, Any]]) -> None:
        """Use `open_journal`."""
        self._file, self.events = file, events

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event and wait until the disk has it.

        Raises:
            LineFileError: The disk refused; the file is as it was before.
        """
        self._file.append(event)
        self.events.append(dict(event))


def open_journal(path: Path, identity: Mapping[str, Any]) -> Journal:
    """Open the journal of a search, or begin it.

    Args:
        path: The file.
        identity: What is searched, as plain JSON values by name.

    Raises:
        LineFileError: It is the journal of something else (every difference is named), it is damaged, or the disk
            refused.
    """
    return Journal(*open_identified(path, identity, work="search", anew=_ANEW))
