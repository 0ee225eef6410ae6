"""ActivityNet: a JSON file with the labeled segments, in seconds, of every video."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from dataset.prepare.annotations import (
    Annotations,
    Entry,
    PrepareError,
    class_number,
    read_class_file,
    read_json,
)
from dataset.prepare.options import add_list_options

HELP = "ActivityNet: JSON; trimmed segments of long videos, or whole videos"
_SPLITS = {"training": "train", "validation": "val"}
_PREFIX = "v_"  # prefix of a file name, before the YouTube id


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line."""
    parser.add_argument("--annotations", type=Path, required=True, help="activity_net.v1-3.min.json")
    parser.add_argument(
        "--mode", choices=("trimmed", "untrimmed"), default="trimmed",
        help="trimmed: one line per labeled segment; untrimmed: one line per video (trimmed)",
    )  # fmt: skip
    parser.add_argument("--classes", type=Path, help="class names in the order of labels (default: sorted names)")
    add_list_options(parser)


def read(*, annotations: Path, mode: str, classes: Path | None) -> Annotations:
    """Read the training and validation subsets; the test subset has no labels.

    Args:
        annotations: The JSON file.
        mode: `trimmed` (segments) or `untrimmed` (whole videos).
        classes: File of class names in the order of labels; None to sort the names.
    """
    content = read_json(annotations)
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict):
        raise PrepareError(f"{annotations}: expected an object 'database' of videos")
    segments = {video: _segments(video, item, annotations) for video, item in database.items()}
    names = sorted({name for found in segments.values() for name, _ in found})
    source = "the annotations"
    if classes:
        names, source = list(read_class_file(classes)), str(classes)
    numbers = {name: number for number, name in enumerate(names)}
    notes = [] if len(names) == 200 else [f"{len(names)} classes, ActivityNet 1.3 has 200"]
    splits: dict[str, list[Entry]] = {split: [] for split in _SPLITS.values()}
    several = 0
    for video, found in segments.items():
        split = _SPLITS.get(database[video].get("subset"))
        if split is None:
            continue
        where = f"{annotations}, video {video}"
        if mode == "untrimmed" and found:
            several += len({name for name, _ in found}) > 1
            found = [(_longest_class(found), None)]
        for name, seconds in found:
            label = class_number(name, numbers, where=where, source=source)
            splits[split].append(Entry(_PREFIX + video, label, where, seconds=seconds))
    if several:
        notes.append(f"{several} videos show several classes; the longest one is their label")
    name = "anet_video" if mode == "trimmed" else "anet_untrimmed_video"
    return Annotations(name, tuple(names), splits, (annotations,), notes)


def _segments(video: str, item: Any, path: Path) -> list[tuple[str, tuple[float, float] | None]]:
    """Return class name and (begin, end), seconds, of the labeled segments of a video."""
    where = f"{path}, video {video}"
    if not isinstance(item, dict) or not isinstance(item.get("annotations", []), list):
        raise PrepareError(f"{where}: expected an object with 'subset' and 'annotations'")
    found: list[tuple[str, tuple[float, float] | None]] = []
    for annotation in item.get("annotations", []):
        try:
            begin, end = (float(value) for value in annotation["segment"])
            name = str(annotation["label"]).strip()
        except (KeyError, TypeError, ValueError):
            raise PrepareError(f"{where}: expected 'segment': [begin, end] and 'label', found {annotation}") from None
        if not 0 <= begin <= end:
            raise PrepareError(f"{where}: invalid segment from {begin:g} s to {end:g} s")
        found.append((name, (begin, end)))
    return found


def _longest_class(found: list[tuple[str, tuple[float, float] | None]]) -> str:
    seconds: Counter[str] = Counter()
    for name, segment in found:
        assert segment is not None
        seconds[name] += segment[1] - segment[0]  # type: ignore[assignment]  # a counter of seconds
    return max(sorted(seconds), key=seconds.__getitem__)
