"""The journal of a search: one line per event, written to the disk before the search continues.

The first line identifies the search (graph, configuration, data); a journal of another search is refused, and the error
names the differences. Rank 0 reads and writes the file; all ranks have the same history.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from utils import distributed
from utils.jsonl import LineFile, open_identified
from utils.search.budgeted_events import BudgetedHistory
from utils.search.events import History, write_event

AnyHistory = TypeVar("AnyHistory", History, BudgetedHistory)

_START_OVER = (
    "give this record a name of its own, or use --force (FORCE=1 with run.sh) to move the earlier search aside and "
    "start anew"
)


class SearchJournal(Generic[AnyHistory]):
    """The journal file of a search and its content.

    Attributes:
        history: All events so far.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        *,
        read: Callable[[list[dict[str, Any]], str], AnyHistory],
    ) -> None:
        """Open the journal of a search, or create it.

        Args:
            path: The file.
            identity: The identity of the search, as plain JSON values by name.
            read: Parses the lines of the file from line 2 on into a history, given the lines and the prefix of their
                line numbers in errors.

        Raises:
            LineFileError: The journal belongs to another search (each difference is named), is corrupt, or could not be
                written.
            EventError: A line is not an event of this search.
        """
        self._file: LineFile | None = None

        def open_file() -> AnyHistory:
            self._file, lines = open_identified(path, identity, work="search", remedy=_START_OVER)
            return read(lines, f"{path}, line")

        self.history: AnyHistory = distributed.decide_on_main(open_file)

    def append(self, event: Any) -> None:
        """Append an event, which is on the disk when this returns.

        Raises:
            LineFileError: The event could not be written; the file is unchanged.
        """

        def write() -> None:
            assert self._file is not None
            self._file.append(write_event(event))

        distributed.decide_on_main(write)
        self.history.add(event)
