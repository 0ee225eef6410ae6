"""Options that several commands of `python -m dataset.prepare` share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dataset.prepare.annotations import PrepareError
from utils.workers import usable_cores


def add_list_options(parser: argparse.ArgumentParser, *, root_help: str = "folder of the videos") -> None:
    """Options of the commands that write lists."""
    parser.add_argument("--root", type=Path, required=True, help=f"{root_help}; paths in the lists start from here")
    parser.add_argument("--output", type=Path, default=Path("dataset"), help="folder of the lists (dataset)")
    parser.add_argument("--name", help="start of the lists' names: NAME_<split>_list.txt")
    add_workers(parser)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The number of processes."""
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (usable processors)")


def add_source_list(parser: argparse.ArgumentParser) -> None:
    """A list and how its videos are read."""
    parser.add_argument("--list", type=Path, required=True, help="list: 'path num_frames label' a line")
    parser.add_argument("--root", type=Path, required=True, help="folder that the paths of the list start from")


def at_split(words: Sequence[str]) -> dict[str, Path]:
    """Parse SPLIT=FILE words.

    Raises:
        PrepareError: not of that form, or a split twice.
    """
    files: dict[str, Path] = {}
    for word in words:
        split, equals, path = word.partition("=")
        if not equals or not path or not split.isidentifier():
            raise PrepareError(f"'{word}': expected SPLIT=FILE, such as train=train.csv")
        if split in files:
            raise PrepareError(f"split '{split}' is given twice: {files[split]} and {path}")
        files[split] = Path(path)
    return files
