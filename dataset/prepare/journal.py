"""What a long command has done already, a JSON line each, so that the same command goes on after a kill."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dataset.prepare.annotations import PrepareError
from utils.files import FileError


class Journal:
    """Values by key. Lines reach the system one by one; a torn last line is dropped, that work is done again."""

    def __init__(self, path: Path, *, header: Mapping[str, Any]) -> None:
        """Open a journal, or begin it.

        Args:
            path: of the file; its folder is made.
            header: what the work is done with; a journal of other work is refused.

        Raises:
            PrepareError: it is of other work, or no journal.
            FileError: it cannot be written.
        """
        self._values: dict[str, Any] = {}
        self._path = path
        first = json.loads(json.dumps(header))
        try:
            lines = self._read(first) if path.exists() else []
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise FileError(f"{path}: cannot be written ({error.strerror})") from None
        if lines:
            self._values.update(lines[1:])
        else:
            self._write(first)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def put(self, key: str, value: Any) -> None:
        """Note that something is done.

        Raises:
            FileError: the disk is full.
        """
        self._values[key] = value
        self._write([key, value])

    def _read(self, header: Any) -> list[Any]:
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError:
            raise PrepareError(f"{self._path} is damaged; move it away to do all anew") from None
        if lines and lines[0] != header:
            names = [name for name in header if lines[0].get(name) != header[name]]
            changes = "; ".join(f"{name}: was {lines[0].get(name)}, is {header[name]}" for name in names)
            raise PrepareError(f"{self._path} is of other work ({changes}); take another folder, or move that away")
        return lines

    def _write(self, line: Any) -> None:
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise FileError(f"{self._path}: cannot be written ({error.strerror}); what is done is kept") from None
