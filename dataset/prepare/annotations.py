"""The common form of all annotations (classes, and the videos of every split), and readers of text formats."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.errors import UserError

Kind = Literal["file", "folder"]  # a video is a file, or a folder of images


class PrepareError(UserError):
    """A dataset cannot be prepared as requested; the message names file and line and says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A video, or a segment of one, of an annotation.

    Attributes:
        stem: File name without suffix, or name of the folder.
        label: Class index, from 0.
        where: File and line of the annotation, for messages.
        folders: Names of folders that it may be in; they decide between several files of that name.
        seconds: Start and end of a segment, seconds; None for the whole video.
        path: Path relative to the root, if known.
        group: Group that is never divided when a list is split; "" for the segments of this video alone.
    """

    stem: str
    label: int
    where: str
    folders: tuple[str, ...] = ()
    seconds: tuple[float, float] | None = None
    path: str = ""
    group: str = ""

    @property
    def title(self) -> str:
        """Name for messages."""
        name = f"{self.folders[0]}/{self.stem}" if self.folders else self.stem
        return name if self.seconds is None else f"{name} [{self.seconds[0]:g} s - {self.seconds[1]:g} s]"


@dataclass(frozen=True, slots=True)
class Annotations:
    """The annotations of a dataset.

    Attributes:
        name: Default name of the lists, NAME_<split>_list.txt.
        classes: Class names in the order of labels.
        splits: Entries by split, e.g. `train` and `val`.
        files: The annotation files.
        notes: Notes for the user.
        left_out: Path and reason of files below the root that are in no split.
        kind: Whether a video is a file or a folder.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Entry]]
    files: tuple[Path, ...]
    notes: list[str] = field(default_factory=list)
    left_out: Sequence[tuple[str, str]] = ()
    kind: Kind = "file"


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, without byte order mark and with newlines as line endings.

    Raises:
        PrepareError: The file cannot be read, or is not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PrepareError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PrepareError(f"cannot read {path}: not UTF-8 text (byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the stripped, non-blank lines of a file, with their line numbers from 1.

    Raises:
        PrepareError: The file cannot be read, or has no such line.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    found = [(number, line) for number, line in lines if line]
    if not found:
        raise PrepareError(f"{path} is empty")
    return found


def read_csv(path: Path, *, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header line.

    Args:
        path: The file.
        columns: Required column names; other columns are ignored.

    Yields:
        Line number, and the values by column name.

    Raises:
        PrepareError: A column is missing, or a value is empty.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), skipinitialspace=True)
    header = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    if missing := [name for name in columns if name not in header]:
        raise PrepareError(f"{path}, line 1: no column '{missing[0]}'; there are: {', '.join(header) or 'none'}")
    for row in reader:
        if short := [name for name in columns if not (row[name] or "").strip()]:
            raise PrepareError(f"{path}, line {reader.line_num}: nothing in column '{short[0]}'")
        yield reader.line_num, {name: row[name].strip() for name in columns}


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        PrepareError: The file cannot be read, or is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise PrepareError(f"{path} is not JSON: {error}") from None


def read_class_file(path: Path) -> tuple[str, ...]:
    """Read a file with one class name per line, class 0 first.

    Raises:
        PrepareError: The file cannot be read, or has a duplicate name.
    """
    names = [name for _, name in read_lines(path)]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise PrepareError(f"{path}: class '{twice}' is listed twice")
    return tuple(names)


def class_number(name: str, numbers: Mapping[str, int], *, where: str, source: str) -> int:
    """Return the label of a class name.

    Args:
        name: Class name.
        numbers: Labels by class name.
        where: File and line that name the class, for messages.
        source: File that defines the classes, for messages.

    Raises:
        PrepareError: The class does not exist.
    """
    if name not in numbers:
        raise PrepareError(f"{where}: class '{name}' is not one of the {len(numbers)} of {source}")
    return numbers[name]


def without_repeats(entries: Sequence[Entry], *, notes: list[str], split: str) -> list[Entry]:
    """Drop duplicate entries, and note how many.

    A segment may have several classes and is then listed once for each.

    Raises:
        PrepareError: A whole video has two classes.
    """
    seen: dict[tuple, Entry] = {}
    for entry in entries:
        key = (entry.stem, entry.folders, entry.seconds and (*entry.seconds, entry.label))
        first = seen.setdefault(key, entry)
        if first.label != entry.label:
            raise PrepareError(f"{entry.where}: {entry.title} has another class here than in {first.where}")
    if repeats := len(entries) - len(seen):
        notes.append(f"{split}: {repeats} repeated {'line' if repeats == 1 else 'lines'} left out")
    return list(seen.values())
