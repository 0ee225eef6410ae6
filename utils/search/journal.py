"""The journal of a search: one line per event, on the disk before the search goes on.

The first line says what is searched (graph, configuration, data); a journal of something else is refused by name.
Rank 0 reads and writes it, every rank knows the same.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from utils import distributed
from utils.jsonl import LineFile, open_identified
from utils.search.budgeted_events import BudgetedHistory
from utils.search.events import History, write_event

AnyHistory = TypeVar("AnyHistory", History, BudgetedHistory)

_ANEW = (
    "give this record a name of its own, or use --force (FORCE=1 with run.sh) to move the earlier search aside and "
    "start anew"
)


class SearchJournal(Generic[AnyHistory]):
    """What has happened in a search, and the file that keeps it.

    Attributes:
        history: What has happened so far.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        *,
        read: Callable[[list[dict[str, Any]], str], AnyHistory],
    ) -> None:
        """Open the journal of a search, or begin it.

        Args:
            path: The file.
            identity: What is searched, as plain JSON values by name.
            read: Returns the history that lines say, the first of which is line 2, and which stand where the text says.

        Raises:
            LineFileError: It is the journal of something else (every difference is named), it is damaged, or the disk
                refused.
            EventError: A line of it is no event of this search.
        """
        self._file: LineFile | None = None

        def open_file() -> AnyHistory:
            self._file, lines = open_identified(path, identity, work="search", anew=_ANEW)
            return read(lines, f"{path}, line")

        self.history: AnyHistory = distributed.decide_on_main(open_file)

    def append(self, event: Any) -> None:
        """Add an event; the disk has it when this returns.

        Raises:
            LineFileError: The disk refused; the file is as it was before.
        """

        def write() -> None:
            assert self._file is not None
            self._file.append(write_event(event))

        distributed.decide_on_main(write)
        self.history.add(event)
