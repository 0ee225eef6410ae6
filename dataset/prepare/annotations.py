"""What an official annotation says, whatever its format: classes, and the videos of every split."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from utils.errors import UserError

Kind = Literal["file", "folder"]  # what a video is: a file, or a folder of pictures


class PrepareError(UserError):
    """A data set that cannot be prepared as asked: names the file and line and says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One video, or a segment of one, that an annotation asks for.

    Attributes:
        stem: Its file name without the suffix, or its folder's name.
        label: Its class, from 0.
        where: File and line that say so, for messages.
        folders: Names of folders it may lie in; they decide between several files of that name.
        seconds: Begin and end of a segment, None for the whole video.
        path: Path below the root, where that is known already.
        group: What it stays together with where a part of a list is held out; "": nothing but its own segments.
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
        """What messages call it."""
        name = f"{self.folders[0]}/{self.stem}" if self.folders else self.stem
        return name if self.seconds is None else f"{name} [{self.seconds[0]:g} s - {self.seconds[1]:g} s]"


@dataclass(frozen=True, slots=True)
class Annotations:
    """All of a data set's annotation.

    Attributes:
        name: What its lists are called where the user does not say: NAME_<split>_list.txt.
        classes: Names; their positions are the labels.
        splits: Entries by split, e.g. `train` and `val`.
        files: The annotation files it was read from.
        notes: What a user should know about it.
        left_out: Path and reason of what is below the root and in no split.
        kind: What a video is.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Entry]]
    files: tuple[Path, ...]
    notes: list[str] = field(default_factory=list)
    left_out: Sequence[tuple[str, str]] = ()
    kind: Kind = "file"


def read_text(path: Path) -> str:
    """Read UTF-8 text; a byte order mark is left out, any line ending becomes a newline.

    Raises:
        PrepareError: No such file, or not such text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PrepareError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise PrepareError(f"cannot read {path}: not UTF-8 text (byte {error.start})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines that are not blank, with their numbers and without space around them.

    Raises:
        PrepareError: The file cannot be read, or has no such line.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    found = [(number, line) for number, line in lines if line]
    if not found:
        raise PrepareError(f"{path} is empty")
    return found


def read_csv(path: Path, *, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table with a header line.

    Args:
        path: The file.
        columns: Names that must be in the header; others are passed over.

    Yields:
        Line number and the values by column.

    Raises:
        PrepareError: A column is missing, or a row has too few values.
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
        PrepareError: It cannot be read or is no JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise PrepareError(f"{path} is not JSON: {error}") from None


def read_class_file(path: Path) -> tuple[str, ...]:
    """Read one class name a line; the first is class 0.

    Raises:
        PrepareError: The file cannot be read, or has a name twice.
    """
    names = [name for _, name in read_lines(path)]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise PrepareError(f"{path}: class '{twice}' is there twice")
    return tuple(names)


def class_number(name: str, numbers: Mapping[str, int], *, where: str, source: str) -> int:
    """Return the label of a class name.

    Args:
        name: Name of the class.
        numbers: Labels by class name.
        where: File and line that name the class.
        source: Where the classes come from.

    Raises:
        PrepareError: There is no such class.
    """
    if name not in numbers:
        raise PrepareError(f"{where}: class '{name}' is not one of the {len(numbers)} of {source}")
    return numbers[name]


def without_repeats(entries: Sequence[Entry], *, notes: list[str], split: str) -> list[Entry]:
    """Leave out entries that stand in an annotation more than once, and note how many.

    A segment may have several classes, and is then a line for each.

    Raises:
        PrepareError: The same video has two classes.
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
