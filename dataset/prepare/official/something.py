"""Something-Something: V1 (CSV files with semicolons, folders of JPEGs) and V2 (JSON files, WebM videos)."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset.prepare.annotations import (
    Annotations,
    Entry,
    PrepareError,
    class_number,
    read_class_file,
    read_json,
    read_lines,
)
from dataset.prepare.options import add_list_options, parse_split_files

HELP_V1 = "Something-Something V1: CSV files, a folder of JPEGs per video"
HELP_V2 = "Something-Something V2: JSON files, WebM videos"
_NUM_CLASSES = 174


def add_arguments_v1(parser: argparse.ArgumentParser) -> None:
    """Add the command line of V1."""
    _add_arguments(parser, "something-something-v1", "csv", "folder 20bn-something-something-v1 of image folders")


def add_arguments_v2(parser: argparse.ArgumentParser) -> None:
    """Add the command line of V2."""
    _add_arguments(parser, "something-something-v2", "json", "folder 20bn-something-something-v2 of WebM files")


def _add_arguments(parser: argparse.ArgumentParser, name: str, suffix: str, root_help: str) -> None:
    parser.add_argument(
        "--annotations", required=True, action="append", metavar="SPLIT=FILE",
        help=f"train={name}-train.{suffix}, val={name}-validation.{suffix}; repeat the option for each split",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=Path, required=True, help=f"{name}-labels.{suffix}: class names in the order of labels"
    )
    add_list_options(parser, root_help=root_help)


def read_v1(*, annotations: Sequence[str], labels: Path) -> Annotations:
    """Read lines 'number;class name' without a header, and a file of one class name per line."""
    classes = read_class_file(labels)
    numbers = {name: label for label, name in enumerate(classes)}
    files = parse_split_files(annotations)
    splits = {split: _read_v1_split(path, numbers, labels) for split, path in files.items()}
    return Annotations("ssv1_frame", classes, splits, (labels, *files.values()), _notes(classes), kind="folder")


def _read_v1_split(path: Path, numbers: dict[str, int], labels: Path) -> list[Entry]:
    entries = []
    for line_number, line in read_lines(path):
        where = f"{path}, line {line_number}"
        video, semicolon, name = line.partition(";")
        if not semicolon or not name.strip():
            hint = "; the test set has no labels" if not semicolon else ""
            raise PrepareError(f"{where}: expected 'number;class name', found '{line}'{hint}")
        label = class_number(name.strip(), numbers, where=where, source=str(labels))
        entries.append(Entry(video.strip(), label, where))
    return entries


def read_v2(*, annotations: Sequence[str], labels: Path) -> Annotations:
    """Read objects with `id` and `template` ('Holding [something]'); the labels file has the names without brackets."""
    numbers = _read_v2_classes(labels)
    files = parse_split_files(annotations)
    splits = {split: _read_v2_split(path, numbers, labels) for split, path in files.items()}
    classes = tuple(sorted(numbers, key=numbers.__getitem__))
    return Annotations("ssv2_video", classes, splits, (labels, *files.values()), _notes(classes))


def _read_v2_classes(path: Path) -> dict[str, int]:
    """Return the labels by class name, from a JSON object whose numbers are strings."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(str(number).isdigit() for number in content.values()):
        raise PrepareError(f"{path}: expected an object of class names and their numbers")
    numbers = {name.strip(): int(number) for name, number in content.items()}
    if sorted(numbers.values()) != list(range(len(content))):
        raise PrepareError(f"{path}: the numbers of the {len(content)} classes are not 0..{len(content) - 1}")
    return numbers


def _read_v2_split(path: Path, numbers: dict[str, int], labels: Path) -> list[Entry]:
    content = read_json(path)
    if not isinstance(content, list):
        raise PrepareError(f"{path}: expected a list of objects with 'id' and 'template'")
    return [_v2_entry(item, f"{path}, entry {index}", numbers, labels) for index, item in enumerate(content, start=1)]


def _v2_entry(item: Any, where: str, numbers: dict[str, int], labels: Path) -> Entry:
    if not isinstance(item, dict) or "id" not in item or not isinstance(item.get("template"), str):
        found = sorted(item) if isinstance(item, dict) else type(item).__name__
        raise PrepareError(f"{where}: expected 'id' and 'template', found {found}; the test set has no labels")
    name = re.sub(r"[\[\]]", "", item["template"]).strip()
    return Entry(str(item["id"]), class_number(name, numbers, where=where, source=str(labels)), where)


def _notes(classes: tuple[str, ...]) -> list[str]:
    return [] if len(classes) == _NUM_CLASSES else [f"{len(classes)} classes, Something-Something has {_NUM_CLASSES}"]
