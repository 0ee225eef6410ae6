"""The same video twice: links to one file and copies of it, in several splits or classes."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dataset.prepare.annotations import Entry
from utils.files import file_sha256
from utils.text import one_line

_ENDS = 1 << 16  # bytes at either end that tell most files of one size apart, without reading the whole


def notes_of_copies(root: Path, splits: Mapping[str, Sequence[Entry]]) -> Iterator[str]:
    """Say how many videos are in several splits or several classes, with an example of each.

    Args:
        root: Folder that the paths of the entries are relative to.
        splits: What is listed; only entries with a path are compared.
    """
    places = {entry.path: (split, entry.label) for split, entries in splits.items() for entry in entries if entry.path}
    copies = find_copies(root, list(places))
    meanings = (("splits", "what is tested on has been trained on"), ("classes", "nothing can tell these apart"))
    for which, (several, meaning) in enumerate(meanings):
        across = [group for group in copies if len({places[path][which] for path in group}) > 1]
        if across:
            first = across[0][0]
            other = next(path for path in across[0] if places[path][which] != places[first][which])
            example = f"{one_line(first)} and {one_line(other)}"
            yield f"{len(across)} x the same video in several {several}, by links or copies, e.g. {example}: {meaning}"


def find_copies(root: Path, paths: Sequence[str]) -> list[list[str]]:
    """Return the videos below a root that are the same file or have the same content, in groups of two and more.

    Files of different sizes are not read, and only those that are alike at both ends are read as a whole. What is empty
    or cannot be read is no copy.
    """
    by_file: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_file[os.path.realpath(root / path)].append(path)
    groups = [list(by_file)]
    for key in (_size, _ends, file_sha256):
        groups = [alike for group in groups for alike in _alike(group, key)]
    copied = {file for group in groups for file in group}
    groups += [[file] for file, links in by_file.items() if len(links) > 1 and file not in copied]
    return sorted(sorted(path for file in group for path in by_file[file]) for group in groups)


def _alike(files: Iterable[str], key: Callable[[Path], object]) -> Iterator[list[str]]:
    """Give the files of which the key is the same, two and more; without those that have none or cannot be read."""
    parts: dict[object, list[str]] = defaultdict(list)
    for file in files:
        with suppress(OSError):  # said where its frames are counted
            parts[key(Path(file))].append(file)
    return (part for value, part in parts.items() if value and len(part) > 1)


def _size(path: Path) -> int:
    return path.stat().st_size


def _ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(_ENDS)
        file.seek(-min(_ENDS, path.stat().st_size), os.SEEK_END)
        return head, file.read(_ENDS)
