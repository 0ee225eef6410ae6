"""Grouped splits: hold out a part of a list, or divide it into folds, with every group of videos on one side.

A group is all segments of one file, or all videos with one group name in X_list.groups.txt, which has a line
`group<tab>path` for each video of X_list.txt. `dataset.prepare folder --group` writes persons there, `ucf101` UCF101's
groups. A split that divided a group would score what it was trained on.
"""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from dataset.listing import ListError, VideoList, read_text_lines, split_segment

GROUPS_SUFFIX = ".groups.txt"


def group_names(videos: VideoList) -> list[str]:
    """Return the group of every video of a list; without a groups file, the path of its file.

    Raises:
        ListError: The groups file cannot be read, or lacks a video.
    """
    paths = [split_segment(record.path)[0] for record in videos]
    source = Path(videos.path).with_suffix(GROUPS_SUFFIX)
    if not source.exists():
        return paths
    groups = _read_groups(source)
    lacking = next((path for path in paths if path not in groups), None)
    if lacking is not None:
        raise ListError(
            f"{source}: no group for {lacking} of {videos.path}; add a line 'group<tab>path', or move the file away"
        )
    return [groups[path] for path in paths]


def _read_groups(source: Path) -> dict[str, str]:
    """Return the group of every path in a groups file."""
    groups: dict[str, str] = {}
    for number, line in enumerate(read_text_lines(source), start=1):
        if not line:
            continue
        group, tab, path = line.partition("\t")
        if not (group and tab and path):
            raise ListError(f"{source}, line {number}: expected 'group<tab>path', found '{line[:80]}'")
        if groups.setdefault(path, group) != group:
            raise ListError(f"{source}, line {number}: {path} is in group '{group}' here, in '{groups[path]}' before")
    return groups


def count_groups(*parts: VideoList) -> tuple[int, ...] | None:
    """Return the number of groups in each part of a list; None if every video is its own group."""
    names = [group_names(part) for part in parts]
    counts = tuple(len(set(part)) for part in names)
    return counts if sum(counts) < sum(map(len, names)) else None


def describe_heldout(training: VideoList, heldout: VideoList) -> str:
    """Return the suffix of a log line on the training videos that says how many others choose the epoch."""
    groups = count_groups(training, heldout)
    of_groups = "" if groups is None else f" (of {groups[0]} and {groups[1]} groups)"
    return f", {len(heldout)} held out to choose the epoch{of_groups}"


def split_heldout(
    videos: VideoList, *, fraction: float, seed: int, otherwise: str = "search.selection=eval_list"
) -> tuple[VideoList, VideoList]:
    """Split off a fraction of every class.

    Of a class with n videos, round(n x fraction) are held out, at least 1 and at most n - 1; the only video of a class
    is trained on. Groups are held out whole, as close to these numbers as possible, and never so that a class has no
    training video left.

    Args:
        videos: The list; `group_names` gives its groups.
        fraction: Fraction of every class to hold out, between 0 and 1.
        seed: Seed of the random draw.
        otherwise: The setting that holds nothing out, named in the error message.

    Returns:
        The training videos and the held-out videos, both in the order of the list.

    Raises:
        ListError: No class has two videos (or two groups), or the groups file is invalid.
    """
    rng = np.random.default_rng((seed, len(videos)))
    names = group_names(videos)
    has_groups = len(set(names)) < len(names)
    if has_groups:
        is_heldout = _hold_out_groups(videos, names, fraction=fraction, rng=rng)
    else:
        is_heldout = _hold_out_videos(videos, fraction=fraction, rng=rng)
    if not is_heldout.any():
        what = "videos of different groups" if has_groups else "videos"
        raise ListError(f"{videos.path}: no class has two {what}, so none can be held out; use {otherwise}")
    return videos.subset(np.flatnonzero(~is_heldout)), videos.subset(np.flatnonzero(is_heldout))


def split_folds(videos: VideoList, *, folds: int, seed: int) -> list[tuple[VideoList, VideoList]]:
    """Divide a list into cross-validation folds, stratified by class and with whole groups.

    Groups are taken from the largest to the smallest, in random order among equals; each goes to the fold that has the
    fewest videos of the group's classes.

    Args:
        videos: The list; `group_names` gives its groups.
        folds: Number of folds, at least 2.
        seed: Seed of the random draw.

    Returns:
        For each fold its training videos (those of all other folds) and its test videos, both in the order of the list.

    Raises:
        ListError: There are fewer groups than folds, or a class occurs in one fold only.
    """
    rng = np.random.default_rng((seed, len(videos)))
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(group_names(videos)):
        members[name].append(index)
    groups = list(members.values())
    if len(groups) < folds:
        raise ListError(f"{videos.path}: {len(groups)} groups of videos cannot be divided into {folds} folds")
    counts = np.zeros((folds, int(videos.labels.max()) + 1), dtype=np.int64)
    fold_of = np.zeros(len(videos), dtype=np.int64)
    for number in sorted(rng.permutation(len(groups)).tolist(), key=lambda number: -len(groups[number])):
        labels = videos.labels[groups[number]]
        own, total = counts[:, labels].sum(axis=1), counts.sum(axis=1)
        fold = int(np.lexsort((total, own))[0])
        fold_of[groups[number]] = fold
        np.add.at(counts[fold], labels, 1)
    alone = np.flatnonzero((counts > 0).sum(axis=0) == 1)
    if len(alone):
        cause = "it would have no training video when that fold is tested"
        raise ListError(f"{videos.path}: class {alone[0]} is in one fold only ({cause}); remove it, or add videos")
    return [
        (videos.subset(np.flatnonzero(fold_of != fold)), videos.subset(np.flatnonzero(fold_of == fold)))
        for fold in range(folds)
    ]


def _wanted(total: int, fraction: float) -> int:
    """Return how many of a class's `total` videos to hold out."""
    return min(max(round(total * fraction), 1), total - 1)


def _hold_out_videos(videos: VideoList, *, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Return whether each video is held out, bool [N], where every video is its own group."""
    is_heldout = np.zeros(len(videos), dtype=bool)
    for label in np.unique(videos.labels):
        members = np.flatnonzero(videos.labels == label)
        is_heldout[rng.permutation(members)[: _wanted(len(members), fraction)]] = True
    return is_heldout


def _hold_out_groups(videos: VideoList, names: list[str], *, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Return whether each video is held out, bool [N], the same for all videos of a group.

    First pass: groups in random order, each held out if that brings its classes closer to their wanted numbers. Second
    pass, while classes have nothing held out: the group that covers most of these classes, of equals the smallest.
    """
    labels = videos.labels.tolist()
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        members[name].append(index)
    groups = list(members.values())
    drawn = [groups[index] for index in rng.permutation(len(groups))]
    counts = [Counter(labels[index] for index in group) for group in drawn]
    totals, heldout = Counter(labels), Counter[int]()
    wanted = {label: _wanted(total, fraction) for label, total in totals.items()}
    chosen: set[int] = set()

    def take(group: int) -> None:
        chosen.add(group)
        heldout.update(counts[group])

    def may_go(group: int) -> bool:
        return all(heldout[label] + count < totals[label] for label, count in counts[group].items())

    def lacks(group: int) -> int:
        return sum(not heldout[label] for label in counts[group])

    for group, content in enumerate(counts):
        missing = {label: wanted[label] - heldout[label] for label in content}
        gain = sum(abs(missing[label]) - abs(missing[label] - count) for label, count in content.items())
        if gain > 0 and may_go(group):
            take(group)
    while useful := {group: lacking for group in range(len(drawn)) if (lacking := lacks(group)) and may_go(group)}:
        take(min(useful, key=lambda group: (-useful[group], len(drawn[group]))))
    is_heldout = np.zeros(len(videos), dtype=bool)
    is_heldout[[index for group in chosen for index in drawn[group]]] = True
    return is_heldout
