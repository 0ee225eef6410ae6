"""The journal of a search: one JSON line per event, on the disk before the search goes on.

The file only grows. A process killed while it writes leaves a torn last line, which was never acted on and is dropped.
The first line says what is searched (graph, configuration, data); a journal of something else is refused by name.
"""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError

FORMAT = 1


class JournalError(UserError):
    """A journal that cannot be written or continued."""

    on_every_rank = False


class Journal:
    """Events in the order they happened; every event is a flat JSON object."""

    def __init__(self, path: Path, events: list[dict[str, Any]]) -> None:
        """Use `open_journal`."""
        self.path = path
        self.events = events

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event and wait until the disk has it.

        Raises:
            JournalError: The disk refused; the file is as it was before.
        """
        _append_line(self.path, dict(event))
        self.events.append(dict(event))


def open_journal(path: Path, identity: Mapping[str, Any]) -> Journal:
    """Open the journal of a search, or begin it.

    Args:
        path: The file; its folder exists.
        identity: What is searched, as plain JSON values by name.

    Raises:
        JournalError: It is the journal of something else (the first difference is named), it is damaged, or the disk
            refused.
    """
    header = {"format": FORMAT, "identity": _as_json(identity)}
    if not path.exists() or path.stat().st_size == 0:
        _append_line(path, header)
        return Journal(path, [])
    lines = _read_lines(path)
    if not lines:  # killed while the first line was written
        _append_line(path, header)
        return Journal(path, [])
    found, *events = lines
    if found.get("format") != FORMAT or not isinstance(found.get("identity"), dict):
        raise JournalError(f"{path}, line 1: not a journal of this version; move the file away to search anew")
    if differences := _differences(header["identity"], found["identity"]):
        raise JournalError(
            f"{path} is the journal of another search: {'; '.join(differences)}; give this record a name of its own, "
            "or use --force (FORCE=1 with run.sh) to move the earlier search aside and start anew"
        )
    return Journal(path, events)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the events; cut off a torn last line."""
    try:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
    except OSError as error:
        raise JournalError(f"{path}: cannot be read ({error.strerror})") from None
    events = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise JournalError(f"{path}, line {number}: damaged; restore the file, or move it away to search anew")
        events.append(event)
    return events


def _append_line(path: Path, event: Mapping[str, Any]) -> None:
    line = json.dumps(_as_json(event), allow_nan=False).encode() + b"\n"
    try:
        with path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                written = file.write(line)
                if written < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except BaseException:  # Ctrl-C too: half a line must not stay in front of the next one
                os.ftruncate(file.fileno(), size)
                raise
    except OSError as error:
        raise JournalError(
            f"{path}: cannot be written ({error.strerror}); what the journal holds is safe, the same command continues"
        ) from None


def _as_json(value: Any) -> Any:
    """Return a value as JSON has it: tuples are lists, keys are text, a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _differences(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    names = [*new, *(name for name in old if name not in new)]
    return [f"{name}: was {old.get(name)}, is {new.get(name)}" for name in names if old.get(name) != new.get(name)]
