"""The journal of a search as all ranks see it: rank 0 reads and writes it, every rank knows the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils import distributed
from utils.planning.graph import Graph
from utils.search.events import Event, History, read_history, write_event
from utils.search.journal import Journal, open_journal


class SearchJournal:
    """What has happened in a search, and the file that keeps it.

    Attributes:
        history: What has happened so far.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], *, graph: Graph) -> None:
        """Open or begin the journal of a search of a graph; see `utils.search.journal.open_journal`.

        Raises:
            JournalError: It is of another search or damaged.
            EventError: A line of it is no event of this search.
        """
        self._journal: Journal | None = None
        history = History()
        if distributed.is_main():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = open_journal(path, identity)
            history = read_history(self._journal.events, graph, source=f"{path}, line", first=2)
        self.history = distributed.broadcast_object(history)

    def append(self, event: Event) -> None:
        """Add an event; on rank 0 the disk has it when this returns."""
        if self._journal is not None:
            self._journal.append(write_event(event))
        self.history.add(event)
