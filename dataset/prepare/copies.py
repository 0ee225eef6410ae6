"""Find duplicate videos, links to one file or byte-equal copies, in several splits or classes."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dataset.prepare.annotations import Entry
from utils.files import file_sha256
from utils.text import count, one_line

_ENDS = 1 << 16  # bytes compared at either end of a file; they differ for most files of one size


def notes_of_copies(root: Path, splits: Mapping[str, Sequence[Entry]]) -> Iterator[str]:
    """Yield a note on the videos in several splits, and one on those in several classes, each with an example.

    Args:
        root: Root of the entries' paths.
        splits: Entries by split; entries without a path are ignored.
    """
    places = {entry.path: (split, entry.label) for split, entries in splits.items() for entry in entries if entry.path}
    copies = find_copies(root, list(places))
    meanings = (("splits", "the splits overlap"), ("classes", "the same video has several labels"))
    for which, (several, meaning) in enumerate(meanings):
        across = [group for group in copies if len({places[path][which] for path in group}) > 1]
        if across:
            first = across[0][0]
            other = next(path for path in across[0] if places[path][which] != places[first][which])
            example = f"{one_line(first)} and {one_line(other)}"
            yield f"{count(len(across), 'video')} in several {several}, as links or copies, e.g. {example}: {meaning}"


def find_copies(root: Path, paths: Sequence[str]) -> list[list[str]]:
    """Return groups of at least two videos that are the same file or have the same content, as paths below a root.

    Files of different sizes are not read, and only files with equal ends are read completely. Empty and unreadable
    files are not compared.
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
    """Yield groups of at least two files with the same key; files with a false key or an OSError are dropped."""
    parts: dict[object, list[str]] = defaultdict(list)
    for file in files:
        with suppress(OSError):  # reported when the frames are counted
            parts[key(Path(file))].append(file)
    return (part for value, part in parts.items() if value and len(part) > 1)


def _size(path: Path) -> int:
    return path.stat().st_size


def _ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(_ENDS)
        file.seek(-min(_ENDS, path.stat().st_size), os.SEEK_END)
        return head, file.read(_ENDS)
