"""HMDB51: a file <class>_test_split<n>.txt per class and split; 1 marks a training, 2 a test, 0 an unused video."""

import argparse
import re
from pathlib import Path, PurePosixPath

from dataset.prepare.annotations import Annotations, Entry, PrepareError, read_lines
from dataset.prepare.options import add_list_options

HELP = "HMDB51: the 70/30 split files, splits 1-3"
_SPLITS = {"0": "", "1": "train", "2": "test"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line."""
    parser.add_argument("--annotations", type=Path, required=True, help="folder testTrainMulti_7030_splits")
    parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1, help="official split (1)")
    add_list_options(parser, root_help="folder with a folder of videos for each class")


def _source(stem: str, class_name: str) -> str:
    """Return the movie that a clip FILM_class_u_nm_np1_ba_goo_0 was cut from; "" for another form of name."""
    match = re.fullmatch(rf"(.+)_{re.escape(class_name)}_[a-z]+_[a-z]+_np[0-9]_[a-z]+_[a-z]+_[0-9]+", stem)
    return match[1] if match else ""


def read(*, annotations: Path, split: int) -> Annotations:
    """Read the files of a split, 1 to 3; labels are in the order of sorted class names."""
    ending = f"_test_split{split}.txt"
    files = sorted(path for path in annotations.glob(f"*{ending}") if not path.name.startswith("."))
    if not files:
        raise PrepareError(f"{annotations}: no file <class>{ending} in it")
    classes = tuple(path.name.removesuffix(ending) for path in files)
    splits: dict[str, list[Entry]] = {"train": [], "test": []}
    for label, path in enumerate(files):
        for number, line in read_lines(path):
            video, _, flag = line.rpartition(" ")
            if flag not in _SPLITS or not video.strip():
                raise PrepareError(f"{path}, line {number}: expected 'video.avi 0|1|2', found '{line}'")
            if side := _SPLITS[flag]:
                stem, class_name = PurePosixPath(video.strip()).stem, classes[label]
                where = f"{path}, line {number}"
                splits[side].append(Entry(stem, label, where, folders=(class_name,), group=_source(stem, class_name)))
    notes = [] if len(classes) == 51 else [f"{len(classes)} classes, HMDB51 has 51"]
    name = "hmdb51_video" if split == 1 else f"hmdb51_split{split}_video"
    return Annotations(name, classes, splits, tuple(files), notes)
