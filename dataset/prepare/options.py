"""Command-line options shared by commands of `python -m dataset.prepare`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dataset.prepare.annotations import PrepareError
from dataset.prepare.measuring import measure, verify
from utils.parts import FORMATS
from utils.workers import usable_cores


def add_list_options(parser: argparse.ArgumentParser, *, root_help: str = "folder of the videos") -> None:
    """Add the options of commands that write lists."""
    parser.add_argument("--root", type=Path, required=True, help=f"{root_help}; list paths are relative to it")
    parser.add_argument("--output", type=Path, default=Path("dataset"), help="folder of the lists (dataset)")
    parser.add_argument("--name", default="", help="prefix of the lists' names: NAME_<split>_list.txt")
    parser.add_argument(
        "--verify", action="store_const", dest="measure", const=verify, default=measure,
        help="decode every frame of every video; by default most videos are counted by packets only, which is fast",
    )  # fmt: skip
    add_workers(parser)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the number of processes."""
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (usable processors)")


def add_source_list(parser: argparse.ArgumentParser) -> None:
    """Add the options for a list and its videos."""
    parser.add_argument("--list", type=Path, required=True, dest="listed", help="list of lines 'path num_frames label'")
    parser.add_argument("--root", type=Path, required=True, help="folder that list paths are relative to")
    parser.add_argument("--format", choices=tuple(FORMATS), default="RAW", help="format of the list's videos (RAW)")


def parse_split_files(words: Sequence[str]) -> dict[str, Path]:
    """Parse SPLIT=FILE arguments.

    Raises:
        PrepareError: An argument has another form, or a split is given twice.
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
