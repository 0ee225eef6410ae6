"""Append-only files of JSON lines with checksums: journals and the log of epochs.

Every line is an object whose last entry, "crc32", is the checksum of all lines up to and including it. A line that was
changed, lost, duplicated or moved does not match and is refused with its number. A process killed while writing leaves
a truncated last line, which nothing depends on yet: it is dropped.
"""

import errno
import json
import math
import os
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import write_text_atomically

FORMAT = 2  # 1: the lines of a file with an identity had no checksums

_LINE = re.compile(rb'(\{.*), "crc32": "([0-9a-f]{8})"\}', re.DOTALL)


class LineFileError(UserError):
    """A file of lines is corrupt, belongs to something else, or cannot be read or written."""

    on_every_rank = False


class LineFile:
    """The lines of a file, in memory and on disk.

    Attributes:
        path: Path of the file.
        lines: The lines in order, without checksums.
    """

    def __init__(self, path: Path, *, remedy: str, sync_seconds: float = 0.0) -> None:
        """Read the file if it exists; otherwise the first line creates it.

        Args:
            path: The file; its folder is created if absent.
            remedy: What to do if the file cannot be used, for messages, e.g. "move it away to start over".
            sync_seconds: Minimum seconds between calls of fsync. A kill never loses an appended line, a power failure
                loses those of at most this many seconds.

        Raises:
            LineFileError: The file is corrupt or cannot be read.
        """
        self.path = path
        self.lines: list[dict[str, Any]] = []
        self._ends, self._checksums = [0], [0]  # of the first 0, 1, 2, ... lines
        self._sync_seconds, self._synced = sync_seconds, -math.inf
        content = _read_bytes(path)
        for line, checksum, end in _parse(content, path=path, remedy=remedy):
            self._note(line, checksum, end)
        if self._ends[-1] < len(content):
            self.keep(len(self.lines))

    def append(self, line: Mapping[str, Any]) -> None:
        """Append a non-empty object; numbers that are not finite become null.

        Raises:
            LineFileError: The file cannot be written and is unchanged, or another process writes to it too.
        """
        plain = as_json(line)
        text, checksum = _encode(plain, self._checksums[-1])
        self._write(text)
        self._note(plain, checksum, self._ends[-1] + len(text))

    def keep(self, count: int) -> None:
        """Truncate the file to its first `count` lines."""
        del self.lines[count:], self._checksums[count + 1 :], self._ends[count + 1 :]
        try:
            if self.path.exists():
                os.truncate(self.path, self._ends[-1])
        except OSError as error:
            raise LineFileError(f"{self.path}: cannot be written ({error.strerror})") from None

    def _note(self, line: dict[str, Any], checksum: int, end: int) -> None:
        self.lines.append(line)
        self._checksums.append(checksum)
        self._ends.append(end)

    def _write(self, text: bytes) -> None:
        begin = self._ends[-1]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                if file.seek(0, os.SEEK_END) != begin:
                    raise LineFileError(f"{self.path}: another process writes to it too; stop one of the two")
                try:
                    if file.write(text) < len(text):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    if time.monotonic() - self._synced >= self._sync_seconds:
                        os.fsync(file.fileno())
                        self._synced = time.monotonic()
                except BaseException:  # Ctrl-C too: a partial line must not precede the next one
                    os.ftruncate(file.fileno(), begin)
                    raise
        except OSError as error:
            cause = f"cannot be written ({error.strerror})"
            raise LineFileError(f"{self.path}: {cause}; its lines are safe, the same command continues") from None


def open_identified(
    path: Path, identity: Mapping[str, Any], *, work: str, remedy: str, sync_seconds: float = 0.0
) -> tuple[LineFile, list[dict[str, Any]]]:
    """Open or create a file whose first line identifies its owner.

    Args:
        path: The file; its folder is created if absent.
        identity: The owner as JSON values by name.
        work: Kind of owner for messages, e.g. "search".
        remedy: What to do if the file cannot be used, for messages.
        sync_seconds: As in `LineFile`.

    Returns:
        The file, and its lines after the first.

    Raises:
        LineFileError: The file has another owner (the message names every difference), is corrupt or of an earlier
            version, or cannot be written.
    """
    file = LineFile(path, remedy=remedy, sync_seconds=sync_seconds)
    new = as_json(identity)
    header = {"format": FORMAT, "identity": new}
    if len(file.lines) < 2 and file.lines != [header]:  # no content yet: any owner may take it
        file.keep(0)
        file.append(header)
    old = file.lines[0].get("identity")
    if file.lines[0].get("format") != FORMAT or not isinstance(old, dict):
        raise LineFileError(f"{path}, line 1: not a file of this version; {remedy}")
    names = [*new, *(name for name in old if name not in new)]
    changed = [f"{name}: was {old.get(name)}, is {new.get(name)}" for name in names if old.get(name) != new.get(name)]
    if changed:
        raise LineFileError(f"{path} belongs to another {work}: {'; '.join(changed)}; {remedy}")
    return file, file.lines[1:]


def read_lines(path: Path, *, remedy: str) -> list[dict[str, Any]]:
    """Read the lines of a file without changing it; none if there is no file.

    Args:
        path: The file.
        remedy: What to do if the file cannot be used, for messages.

    Raises:
        LineFileError: The file is corrupt or cannot be read.
    """
    return [line for line, _, _ in _parse(_read_bytes(path), path=path, remedy=remedy)]


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write a file of lines atomically, replacing an existing one."""
    text, checksum = b"", 0
    for line in lines:
        encoded, checksum = _encode(as_json(line), checksum)
        text += encoded
    write_text_atomically(path, text.decode())


def as_json(value: Any) -> Any:
    """Convert a value to JSON types: tuples to lists, keys to text, numbers that are not finite to None."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _encode(line: dict[str, Any], checksum: int) -> tuple[bytes, int]:
    """Return the bytes of a line and its checksum, which continues that of the previous line."""
    content = json.dumps(line, allow_nan=False)[:-1].encode()
    checksum = zlib.crc32(content, checksum)
    return content + b', "crc32": "%08x"}\n' % checksum, checksum


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise LineFileError(f"{path}: cannot be read ({error.strerror})") from None


def _parse(content: bytes, *, path: Path, remedy: str) -> list[tuple[dict[str, Any], int, int]]:
    """Return every complete line, its checksum, and the offset of its end, bytes."""
    *whole, rest = content.split(b"\n")
    parsed: list[tuple[dict[str, Any], int, int]] = []
    checksum = end = 0
    for number, text in enumerate(whole, start=1):
        match = _LINE.fullmatch(text)
        checksum = zlib.crc32(match[1], checksum) if match else checksum
        if match is None or checksum != int(match[2], 16):
            is_older = match is None and _is_object(text)
            cause = "no checksum, as in earlier versions of this project" if is_older else "corrupt"
            raise LineFileError(f"{path}, line {number}: {cause}; restore the file, or {remedy}")
        end += len(text) + 1
        parsed.append((json.loads(match[1] + b"}"), checksum, end))
    if (complete := _LINE.match(rest)) and complete.end() < len(rest):  # a kill truncates, it adds nothing
        raise LineFileError(f"{path}, line {len(whole) + 1}: corrupt; restore the file, or {remedy}")
    return parsed


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
