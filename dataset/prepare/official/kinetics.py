"""Kinetics-400, 600 and 700: CSV files with the columns label, youtube_id, time_start, time_end, split."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dataset.prepare.annotations import Annotations, Entry, PrepareError, class_number, read_class_file, read_csv
from dataset.prepare.options import add_list_options, parse_split_files

HELP = "Kinetics-400/600/700: CSV files; videos in folders by class, or all in one"
CLASSES = {"400": 400, "600": 600, "700": 700}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line."""
    parser.add_argument(
        "--annotations", required=True, action="append", metavar="SPLIT=FILE",
        help="train=train.csv, val=val.csv; repeat the option for each split",
    )  # fmt: skip
    parser.add_argument("--version", choices=tuple(CLASSES), default="400", help="number of classes (400)")
    parser.add_argument("--classes", type=Path, help="class names in the order of labels (default: sorted names)")
    add_list_options(parser)


def read(*, annotations: Sequence[str], version: str, classes: Path | None) -> Annotations:
    """Read the CSV files of all splits, whose classes are numbered jointly.

    Args:
        annotations: SPLIT=FILE arguments.
        version: A key of CLASSES.
        classes: File of class names in the order of labels; None to sort the names.
    """
    files = parse_split_files(annotations)
    rows = {split: list(read_csv(path, columns=_COLUMNS)) for split, path in files.items()}
    names = sorted({row["label"] for table in rows.values() for _, row in table})
    source = "the annotations"
    if classes:
        names, source = list(read_class_file(classes)), str(classes)
    notes = []
    if len(names) != CLASSES[version]:
        notes.append(f"{len(names)} classes, Kinetics-{version} has {CLASSES[version]}")
    numbers = {name: number for number, name in enumerate(names)}
    splits = {
        split: [_entry(row, f"{files[split]}, line {number}", numbers, source) for number, row in table]
        for split, table in rows.items()
    }
    name = "kinetics_video" if version == "400" else f"kinetics{version}_video"
    return Annotations(name, tuple(names), splits, tuple(files.values()), notes)


def _entry(row: dict[str, str], where: str, numbers: dict[str, int], source: str) -> Entry:
    """Read a row; its video is named <youtube_id>_<start>_<end>, six digits each, as by the official downloader."""
    try:
        start, end = (int(float(row[name])) for name in ("time_start", "time_end"))
    except ValueError:
        raise PrepareError(f"{where}: time_start and time_end must be seconds") from None
    label = row["label"]
    return Entry(
        stem=f"{row['youtube_id']}_{start:06d}_{end:06d}",
        label=class_number(label, numbers, where=where, source=source),
        where=where,
        folders=(label, label.replace(" ", "_")),
    )
