"""UCF101: trainlist01.txt, testlist01.txt, ..., and classInd.txt, which numbers classes from 1."""

import argparse
import re
from pathlib import Path, PurePosixPath

from dataset.prepare.annotations import Annotations, Entry, PrepareError, class_number, read_lines
from dataset.prepare.options import add_list_options

HELP = "UCF101: trainlist/testlist 01-03 and classInd.txt"

# Videos of a group share the person, the background or the view, so a split must not divide a group.
_GROUP = re.compile(r"(v_.+_g[0-9]+)_c[0-9]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line."""
    parser.add_argument("--annotations", type=Path, required=True, help="folder ucfTrainTestlist")
    parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1, help="official split (1)")
    add_list_options(parser, root_help="folder UCF-101 with a folder of videos for each class")


def read(*, annotations: Path, split: int) -> Annotations:
    """Read the lists of a split, 1 to 3; labels follow classInd.txt, and numbers in a list must agree with it."""
    number = f"{split:02d}"
    index = annotations / "classInd.txt"
    classes = _read_classes(index)
    numbers = {name: label for label, name in enumerate(classes)}
    paths = {"train": annotations / f"trainlist{number}.txt", "test": annotations / f"testlist{number}.txt"}
    splits = {side: _read_list(path, numbers, index=index) for side, path in paths.items()}
    notes = [] if len(classes) == 101 else [f"{len(classes)} classes, UCF101 has 101"]
    name = "ucf101_video" if split == 1 else f"ucf101_split{split}_video"
    return Annotations(name, classes, splits, (index, *paths.values()), notes)


def _read_classes(path: Path) -> tuple[str, ...]:
    """Read lines 'number name', numbered from 1."""
    names: list[str] = []
    for line_number, line in read_lines(path):
        number, _, name = line.partition(" ")
        if not number.isdigit() or int(number) != len(names) + 1 or not name.strip():
            raise PrepareError(f"{path}, line {line_number}: expected '{len(names) + 1} ClassName', found '{line}'")
        names.append(name.strip())
    return tuple(names)


def _read_list(path: Path, numbers: dict[str, int], *, index: Path) -> list[Entry]:
    """Read lines 'Class/video.avi', in a training list followed by the number of the class, from 1."""
    entries = []
    for line_number, line in read_lines(path):
        where = f"{path}, line {line_number}"
        name, _, number = line.rpartition(" ")
        if not name or not number.isdigit():
            name, number = line, ""
        video = PurePosixPath(name.strip())
        if len(video.parts) != 2:
            raise PrepareError(f"{where}: expected 'Class/video.avi', found '{line}'")
        label = class_number(video.parts[0], numbers, where=where, source=str(index))
        if number and int(number) != label + 1:
            raise PrepareError(f"{where}: class {number} is not '{video.parts[0]}', which {index} calls {label + 1}")
        group = _GROUP.fullmatch(video.stem)
        folders = (video.parts[0],)
        entries.append(Entry(video.stem, label, where, folders=folders, group=group[1] if group else ""))
    return entries
