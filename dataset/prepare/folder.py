"""Any folder with a folder of videos for each class: a split of every class, reproducible by a seed."""

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from dataset.prepare.annotations import Annotations, Entry, PrepareError, read_class_file
from dataset.prepare.finding import walk
from dataset.prepare.lists import write_new
from dataset.prepare.options import add_list_options
from utils.text import say

HELP = "your own videos: a folder of videos for each class"
SPLITS = ("train", "test")
RECORD_BASE = "base_config/own_base.yml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--test_fraction", type=float, default=0.2, help="share of every class to test on (0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (0)")
    parser.add_argument(
        "--group", metavar="PATTERN",
        help="regular expression on the path below the root; videos with the same match (of its first group, if it has "
        "one) stay on one side, e.g. 'person([0-9]+)'",
    )  # fmt: skip
    parser.add_argument("--classes", type=Path, help="class names in the order of labels (default: sorted names)")
    parser.add_argument("--record", type=Path, help="also write a record of these lists, e.g. record/my-videos.yml")
    add_list_options(parser, root_help="folder with a folder of videos for each class")


def default_name(arguments: argparse.Namespace) -> str:
    """Start of the lists' names: the folder's own."""
    return arguments.root.resolve().name.replace(" ", "_")


def read(arguments: argparse.Namespace) -> Annotations:
    """Take the folders as classes, and split their videos."""
    root, fraction = arguments.root, arguments.test_fraction
    if not root.is_dir():
        raise PrepareError(f"the root of the videos, {root}, is no folder")
    if not 0 < fraction < 1:
        raise PrepareError(f"--test_fraction {fraction} is not between 0 and 1")
    paths = [path for path in walk(root) if "/" in path]
    found = sorted({path.split("/")[0] for path in paths})
    classes = read_class_file(arguments.classes) if arguments.classes else tuple(found)
    if unknown := sorted(set(found) - set(classes)):
        raise PrepareError(f"{arguments.classes}: the folder '{unknown[0]}' of {root} is no class of it")
    if len(found) < 2:
        raise PrepareError(f"{root}: expected a folder of videos for each class, found {len(found)} with videos in it")
    labels = [classes.index(path.split("/")[0]) for path in paths]
    groups = _groups(paths, arguments.group)
    is_test = split_groups(labels, groups, fraction=fraction, seed=arguments.seed)
    splits: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for path, label, group, test in zip(paths, labels, groups, is_test, strict=True):
        entry = Entry(path, label, str(root), folders=(classes[label],), path=path, group=group or "-")
        splits[SPLITS[test]].append(entry)
    return Annotations(classes, splits, (), _notes(classes, splits, groups, has_pattern=bool(arguments.group)))


def write_record(path: Path, root: Path, lists: Sequence[Path], *, num_classes: int) -> None:
    """Write a record that trains on the first of two lists and evaluates on the second.

    Raises:
        PrepareError: another file is there.
    """
    train, test = lists
    dataset = {
        "num_classes": num_classes,
        "list_file": str(train),
        "root_path": str(root),
        "eva_list_file": str(test),
        "eva_root_path": str(root),
    }
    content = yaml.safe_dump({"base": RECORD_BASE, "dataset": dataset}, sort_keys=False, allow_unicode=True)
    is_new = write_new({path: content})
    say(f"{path}: train with bash run.sh {path.stem}" if is_new else f"{path} is there already, the same")


def _groups(paths: Sequence[str], pattern: str | None) -> list[str]:
    """What each video must stay together with; without a pattern each is alone."""
    if not pattern:
        return list(paths)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise PrepareError(f"--group '{pattern}' is no regular expression: {error}") from None
    matches = [compiled.search(path) for path in paths]
    without = [path for path, match in zip(paths, matches, strict=True) if not match]
    if without:
        raise PrepareError(
            f"--group '{pattern}' does not match {len(without)} of {len(paths)} videos, e.g. {without[0]}"
        )
    return [(match[1] if compiled.groups else match[0]) or "" for match in matches if match]


def split_groups(labels: Sequence[int], groups: Sequence[str], *, fraction: float, seed: int) -> list[bool]:
    """Choose test videos: as near as can be to a fraction of every class, without taking a group apart.

    Groups come in random order, and one is tested on if that brings the classes nearer to their shares. Of a class
    with n videos n x fraction are wanted, but at least one, and at most all but one.

    Args:
        labels: class of each video.
        groups: group of each video, which may have videos of several classes.
        fraction: share to test on.
        seed: of the order.

    Returns:
        For each video whether it is tested on.
    """
    totals = Counter(labels)
    wanted = {label: min(max(total * fraction, 1.0), total - 1.0) for label, total in totals.items()}
    members: dict[str, list[int]] = defaultdict(list)
    for video, group in enumerate(groups):
        members[group].append(video)
    names = sorted(members)
    chosen: Counter[int] = Counter()
    is_test = [False] * len(labels)
    for index in np.random.default_rng(seed).permutation(len(names)):
        videos = members[names[index]]
        counts = Counter(labels[video] for video in videos)
        gain = sum(
            abs(chosen[label] - wanted[label]) - abs(chosen[label] + count - wanted[label])
            for label, count in counts.items()
        )
        if gain > 0:
            chosen.update(counts)
            for video in videos:
                is_test[video] = True
    return is_test


def _notes(
    classes: Sequence[str], splits: dict[str, list[Entry]], groups: Sequence[str], *, has_pattern: bool
) -> list[str]:
    notes = [f"{len(set(groups))} groups"] if has_pattern else []
    for split, entries in splits.items():
        lacking = sorted(set(range(len(classes))) - {entry.label for entry in entries})
        if lacking:
            shown = ", ".join(classes[label] for label in lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            notes.append(f"{split}: no video of {len(lacking)} classes: {shown}")
    return notes
