"""Lists for a folder with a subfolder of videos per class, split by folders train/, val/, test/ or at random."""

import argparse
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset.prepare.advice import INTENTS, Intent, advise
from dataset.prepare.annotations import Annotations, Entry, PrepareError, read_class_file
from dataset.prepare.copies import notes_of_copies
from dataset.prepare.finding import Found, describe_left_out, find_videos, normalize_name
from dataset.prepare.lists import ListFile, make_lists, name_fault
from dataset.prepare.measuring import Measure
from dataset.prepare.options import add_list_options
from dataset.prepare.own_record import Places, write_record
from dataset.prepare.survey import survey

HELP = "your own videos: a folder of videos for each class"
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_DRAWN = ("train", "test")
_FRACTION, _SEED = 0.2, 0
_SHOWN_REASONS = 3  # of what was left out, where too few classes are left


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line."""
    parser.add_argument("--test_fraction", type=float, help=f"fraction of every class for testing ({_FRACTION})")
    parser.add_argument("--seed", type=int, help=f"seed of the random split ({_SEED})")
    parser.add_argument(
        "--group", metavar="PATTERN", default="",
        help="regular expression on the path below the root; videos with the same match (of its first group, if it has "
        "one) stay on one side, e.g. 'person([0-9]+)'",
    )  # fmt: skip
    parser.add_argument("--classes", type=Path, help="class names in the order of labels (default: sorted names)")
    parser.add_argument(
        "--record", type=Path, help="also survey the videos and write a record for them, e.g. record/my-videos.yml"
    )
    parser.add_argument(
        "--intent", choices=INTENTS,
        help="for the record: whether motion or appearance distinguishes the classes (default: by names and frames)",
    )  # fmt: skip
    add_list_options(parser, root_help="folder with a folder of videos for each class, or with train/, val/, test/")


def run(
    *,
    root: Path,
    record: Path | None,
    intent: Intent | None,
    output: Path,
    name: str,
    workers: int,
    measure: Measure,
    **own: Any,
) -> int:
    """Write the lists of a folder and, if requested, a record for them; return 0, as no video is rejected.

    Raises:
        PrepareError: The folder or the options are invalid.
    """
    if intent and not record:
        raise PrepareError(f"--intent {intent} needs a record: add its path, e.g. --record record/my-videos.yml")
    if record and record.suffix != ".yml":
        raise PrepareError(f"--record {record}: a record's name must end in .yml, or run.sh does not find it")
    annotations = read(root, **own)
    made = make_lists(annotations, root, output=output, name=name, workers=workers, measure=measure)
    if record:
        lists = dict(zip(annotations.splits, made, strict=True))
        _write_fitting_record(record, root, lists, class_names=annotations.classes, intent=intent, workers=workers)
    return 0


def _write_fitting_record(
    path: Path,
    root: Path,
    lists: Mapping[str, ListFile],
    *,
    class_names: Sequence[str],
    intent: Intent | None,
    workers: int,
) -> None:
    """Survey the training videos, and write a record for them."""
    train = lists["train"]
    found = survey(root, train.videos, groups=train.groups, class_names=class_names, workers=workers)
    if found is None:
        raise PrepareError(f"{train.path}: none of its videos can be decoded, so there is nothing to train on")
    small = Path("data", f"{train.path.name.removesuffix('_train_list.txt')}_small")
    places = Places(root, {split: made.path for split, made in lists.items()}, small)
    labels = [video.label for video in train.videos]
    write_record(path, places, found=found, labels=labels, advice=advise(found, intent))


def read(
    root: Path,
    *,
    test_fraction: float | None = None,
    seed: int | None = None,
    group: str = "",
    classes: Path | None = None,
) -> Annotations:
    """Read the classes from folders, and the splits from folders above them or else at random.

    The arguments are those of the command line.

    Raises:
        PrepareError: There are no class folders, or options contradict the folders.
    """
    found = find_videos(root)
    given = given_splits(found.videos, root)
    depth = 1 if given else 0  # number of folders above those of the classes
    paths = [path for path in found.videos if path.count("/") > depth]
    names = [normalize_name(path.split("/")[depth]) for path in paths]
    class_names = _class_names(names, classes, root=root, left_out=found.left_out)
    labels = {name: label for label, name in enumerate(class_names)}
    entries = [
        Entry(path, labels[name], str(root), folders=(name,), path=path, group=together)
        for path, name, together in zip(paths, names, _groups(paths, group, root=root), strict=True)
    ]
    if given:
        _refuse_drawing(given, root, test_fraction=test_fraction, seed=seed)
        sides = [given[path.split("/")[0]] for path in paths]
    else:
        sides = _draw(entries, fraction=_FRACTION if test_fraction is None else test_fraction, seed=seed or _SEED)
    splits: dict[str, list[Entry]] = {
        split: [entry for entry, side in zip(entries, sides, strict=True) if side == split]
        for split in SPLIT_NAMES
        if split in (given.values() or _DRAWN)
    }
    notes = [*_notes_of_groups(splits, group), *notes_of_copies(root, splits), *_lacking(class_names, splits)]
    left_out = [*_no_classes(found, depth=depth, tops=given), *found.left_out]
    return Annotations(root.resolve().name.replace(" ", "_"), class_names, splits, (), notes, left_out)


def _refuse_drawing(given: Iterable[str], root: Path, *, test_fraction: float | None, seed: int | None) -> None:
    for option, value in (("--test_fraction", test_fraction), ("--seed", seed)):
        if value is not None:
            raise PrepareError(f"{option} {value}: {root} is split by its folders {', '.join(given)} already")


def _draw(entries: Sequence[Entry], *, fraction: float, seed: int) -> list[str]:
    """Draw a random split; return the split of each entry."""
    if not 0 < fraction < 1:
        raise PrepareError(f"--test_fraction {fraction} is not between 0 and 1")
    labels, groups = [entry.label for entry in entries], [entry.group for entry in entries]
    return [_DRAWN[is_test] for is_test in split_groups(labels, groups, fraction=fraction, seed=seed)]


def _notes_of_groups(splits: Mapping[str, Sequence[Entry]], pattern: str) -> Iterator[str]:
    """Yield a note on the number of groups of a pattern.

    Raises:
        PrepareError: A group of the pattern is in several splits.
    """
    if not pattern:
        return
    counts = Counter(group for entries in splits.values() for group in {entry.group for entry in entries})
    if across := sorted(group for group, count in counts.items() if count > 1):
        raise PrepareError(f"--group '{pattern}': '{across[0]}' is in several of the folders {', '.join(splits)}")
    yield f"{len(counts)} groups"


def given_splits(paths: Sequence[str], root: Path) -> dict[str, str]:
    """Return the split of each top-level folder; empty if these are the classes.

    Args:
        paths: Paths of the videos, relative to the root.
        root: The root, for messages.

    Raises:
        PrepareError: Only some of the folders are named like splits, two are the same split, or none is for training.
    """
    tops = sorted({path.split("/")[0] for path in paths if "/" in path})
    splits = {top: split for top in tops if (split := _split_of(top))}
    if len(set(splits.values())) < 2:
        inner = {path.split("/")[1]: path for path in paths if path.count("/") > 1 and _split_of(path.split("/")[1])}
        if len(inner) > 1:
            example = next(iter(inner.values()))
            raise PrepareError(f"{root}: {', '.join(inner)} are within the classes ({example}); put them above these")
        return {}
    if others := [top for top in tops if top not in splits]:
        raise PrepareError(
            f"{root}: {', '.join(f'{top}/' for top in splits)} are splits by their names, {others[0]}/ is none; move "
            "it away, or rename those that are classes"
        )
    for split in SPLIT_NAMES:
        if len(same := [top for top in tops if splits[top] == split]) > 1:
            raise PrepareError(f"{root}: {same[0]}/ and {same[1]}/ are the same split; make them one folder")
    if "train" not in splits.values():
        raise PrepareError(f"{root}: no folder train/ beside {', '.join(f'{top}/' for top in tops)}")
    return splits


def _split_of(folder: str) -> str:
    """Return the split that a folder name such as `Training_set` means; empty for none."""
    word = re.sub(r"[ _-]?(set|split|data|videos)$", "", folder.lower())
    return next((split for split, names in SPLIT_NAMES.items() if word in names), "")


def _class_names(
    names: Sequence[str], file: Path | None, *, root: Path, left_out: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """Return the class names in the order of labels: those of a file, or the sorted folder names.

    If there are too few, the error lists what was left out.
    """
    found = sorted(set(names))
    for name in found:
        if fault := name_fault(name):
            raise PrepareError(f"{root}: the folder '{name}' cannot be a class: {fault}")
    classes = tuple(map(normalize_name, read_class_file(file))) if file else tuple(found)
    if unknown := [name for name in found if name not in classes]:
        raise PrepareError(f"{file}: the folder '{unknown[0]}' of {root} is no class of it")
    if len(found) < 2:
        inner = f"; is it --root {root / found[0]}?" if found and _split_of(found[0]) else ""
        reasons = "".join(f"; {line}" for line in describe_left_out(left_out)[:_SHOWN_REASONS])
        raise PrepareError(
            f"{root}: expected a folder of videos for each class, found {len(found)} with videos in it{inner}{reasons}"
        )
    return classes


def _no_classes(found: Found, *, depth: int, tops: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield class folders without videos, and videos beside the class folders, each with a reason."""
    used = {"/".join(path.split("/")[: depth + 1]) for path in found.videos}
    for folder in found.folders:
        if folder.count("/") == depth and folder not in used and (not tops or folder.split("/")[0] in tops):
            yield folder, "a class without a video"
    yield from ((path, "beside the folders of the classes") for path in found.videos if path.count("/") <= depth)


def _groups(paths: Sequence[str], pattern: str, *, root: Path) -> list[str]:
    """Return the group of each video: the match of the pattern or, without one, all links to the same file."""
    if not pattern:
        first: dict[str, str] = {}
        return [first.setdefault(os.path.realpath(root / path), path) for path in paths]
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
    return [(match[1] if compiled.groups else match[0]) or "-" for match in matches if match]


def split_groups(labels: Sequence[int], groups: Sequence[str], *, fraction: float, seed: int) -> list[bool]:
    """Choose test videos, close to a fraction of every class, without dividing a group.

    Groups are visited in random order, and one is taken if that brings its classes closer to their wanted numbers: of a
    class with n videos n x fraction, at least 1 and at most n - 1.

    Args:
        labels: Class index of each video.
        groups: Group of each video; a group may have videos of several classes.
        fraction: Fraction of every class for testing.
        seed: Seed of the order.

    Returns:
        Whether each video is a test video.
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


def _lacking(classes: Sequence[str], splits: Mapping[str, Sequence[Entry]]) -> Iterator[str]:
    """Yield a note for each split that lacks classes."""
    for split, entries in splits.items():
        lacking = sorted(set(range(len(classes))) - {entry.label for entry in entries})
        if lacking:
            names = ", ".join(classes[label] for label in lacking[:5]) + (", ..." if len(lacking) > 5 else "")
            yield f"{split}: no video of {len(lacking)} classes: {names}"
