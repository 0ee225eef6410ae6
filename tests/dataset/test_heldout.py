"""Held-out splits: a fraction of every class, whole groups, determined by the seed."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from dataset.heldout import count_groups, group_names, split_folds, split_heldout
from dataset.listing import ListError, VideoList, VideoRecord, list_of, read_list
from dataset.prepare.__main__ import main
from dataset.prepare.annotations import PrepareError


def write_grouped(folder: Path, videos: list[tuple[str, str, int]], *, groups: str | None = None) -> VideoList:
    """Write a list of (group, path, label) and its groups file, or `text` as the groups file."""
    path = folder / "my_list.txt"
    path.write_text("".join(f"{video} 10 {label}\n" for _, video, label in videos))
    lines = "".join(f"{group}\t{video}\n" for group, video, _ in videos)
    (folder / "my_list.groups.txt").write_text(lines if groups is None else groups)
    return read_list(path)


def persons(counts: list[int], *, classes: int, takes: int = 1) -> list[tuple[str, str, int]]:
    """Videos of several persons; person i has counts[i] x takes videos of every class."""
    return [
        (f"person {person}", f"class {label}/p{person} take {take}.mp4", label)
        for person, count in enumerate(counts)
        for label in range(classes)
        for take in range(count * takes)
    ]


def test_without_groups_the_split_has_not_changed() -> None:
    """Indices and digests as before groups were introduced, so that older searches can be continued."""
    videos = list_of([VideoRecord(f"{i}.mp4", 10, (i * i + i // 3) % 4) for i in range(40)], path="here")
    training, heldout = split_heldout(videos, fraction=0.2, seed=5)
    assert [int(video.path[:-4]) for video in heldout] == [12, 14, 21, 27, 28, 29, 30, 34]
    assert heldout.sha256 == "eca3ee1b04edffe2c2c92abfb7307aaac84eb5e0db131627c6cd31638f1c234d"
    assert training.sha256 == "2850d043fe1794a90c47b558f20a2c0d16e7e25bf3fd719f542f66d511cf3085"
    assert count_groups(training, heldout) is None


def test_a_file_in_which_every_video_is_its_own_group_changes_nothing(tmp_path: Path) -> None:
    lines = [(f"g{i}", f"v{i}.mp4", i % 3) for i in range(30)]
    grouped = split_heldout(write_grouped(tmp_path, lines), fraction=0.3, seed=1)
    (tmp_path / "my_list.groups.txt").unlink()
    plain = split_heldout(read_list(tmp_path / "my_list.txt"), fraction=0.3, seed=1)
    assert [part.sha256 for part in grouped] == [part.sha256 for part in plain]


@pytest.mark.parametrize(("fraction", "expected"), [(0.1, 1), (0.2, 2), (0.5, 5)])
def test_persons_are_on_one_side_in_the_requested_fraction(tmp_path: Path, fraction: float, expected: int) -> None:
    videos = write_grouped(tmp_path, persons([1] * 10, classes=6, takes=3))
    drawn = set()
    for seed in range(8):
        training, heldout = split_heldout(videos, fraction=fraction, seed=seed)
        sides = [set(group_names(part)) for part in (training, heldout)]
        assert not sides[0] & sides[1]
        assert (len(sides[1]), len(heldout), len(training)) == (expected, 18 * expected, 180 - 18 * expected)
        assert count_groups(training, heldout) == (10 - expected, expected)
        assert {video.label for video in heldout} == {video.label for video in training} == set(range(6))
        assert split_heldout(videos, fraction=fraction, seed=seed)[1].sha256 == heldout.sha256
        drawn.add(frozenset(sides[1]))
    assert len(drawn) > 1  # another seed draws other persons


def test_a_group_larger_than_the_fraction_is_held_out_only_if_a_class_needs_it(tmp_path: Path) -> None:
    videos = write_grouped(tmp_path, persons([9, 1, 10], classes=4))
    for seed in range(6):
        assert set(group_names(split_heldout(videos, fraction=0.05, seed=seed)[1])) == {"person 1"}
    videos = write_grouped(tmp_path, persons([9, 10], classes=4))
    for seed in range(6):
        assert set(group_names(split_heldout(videos, fraction=0.05, seed=seed)[1])) == {"person 0"}


def test_every_class_is_trained_on_and_scored_if_possible() -> None:
    """Compared with all subsets of the groups of small lists; the best is missed in a few percent of them."""
    rng, missed = np.random.default_rng(0), 0
    for seed in range(200):
        size = int(rng.integers(8, 25))
        groups, labels = rng.integers(0, int(rng.integers(2, 8)), size), rng.integers(0, 4, size)
        records = [
            VideoRecord(f"{group}.mp4#skip={i}", 5, label)
            for i, (group, label) in enumerate(zip(groups, labels, strict=True))
        ]

        def count(chosen: np.ndarray, labels: np.ndarray = labels) -> int:
            """Number of classes on both sides; -1 if a class has no training video."""
            scored, trained = set(labels[chosen].tolist()), set(labels[~chosen].tolist())
            return len(scored) if trained == set(labels.tolist()) else -1

        every = sorted(set(groups.tolist()))
        subsets = (part for number in range(len(every)) for part in itertools.combinations(every, number))
        best = max(count(np.isin(groups, part)) for part in subsets)
        try:
            _, heldout = split_heldout(list_of(records, path="here"), fraction=0.3, seed=seed)
        except ListError:
            assert best == 0
            continue
        taken = {video.path for video in heldout}
        chosen = np.array([record.path in taken for record in records])
        assert not set(groups[chosen].tolist()) & set(groups[~chosen].tolist())
        assert count(chosen) > 0
        missed += count(chosen) < best
    assert missed <= 6


def test_nothing_to_hold_out_is_an_error(tmp_path: Path) -> None:
    videos = write_grouped(tmp_path, persons([4], classes=3))
    with pytest.raises(ListError, match=r"no class has two videos of different groups, .*search\.selection=eval_list"):
        split_heldout(videos, fraction=0.5, seed=0)


@pytest.mark.parametrize(
    ("groups", "fault"),
    [
        ("a\tv0.mp4\nb\tv1.mp4\n", r"my_list\.groups\.txt: no group for v2\.mp4 of .*my_list\.txt; add a line"),
        ("a\tv0.mp4\nb v1.mp4\n", r"my_list\.groups\.txt, line 2: expected 'group<tab>path', found 'b v1\.mp4'"),
        ("\tv0.mp4\n", r"line 1: expected 'group<tab>path'"),
        ("a\tv0.mp4\nb\tv0.mp4\n", r"line 2: v0\.mp4 is in group 'b' here, in 'a' before"),
    ],
)
def test_a_mistake_in_the_groups_names_the_file_and_line(tmp_path: Path, groups: str, fault: str) -> None:
    videos = write_grouped(tmp_path, [("", f"v{i}.mp4", i % 2) for i in range(4)], groups=groups)
    with pytest.raises(ListError, match=fault):
        split_heldout(videos, fraction=0.5, seed=0)


def test_groups_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    videos = write_grouped(tmp_path, persons([1, 1], classes=2))
    (tmp_path / "my_list.groups.txt").write_bytes(b"\xff\tv0.mp4\n")
    with pytest.raises(ListError, match=r"my_list\.groups\.txt, line 1: not UTF-8 text"):
        group_names(videos)


def test_groups_may_come_from_windows_and_hold_more_than_the_list(tmp_path: Path) -> None:
    videos = [("a", "x y/v0.mp4#skip=3", 0), ("a", "v1.mp4", 1), ("b", "v2.mp4", 0)]
    text = "\ufeffa\tx y/v0.mp4\r\na\tv1.mp4\r\nb\tv2.mp4\r\n\r\nc\tanother.mp4\r\n"
    assert group_names(write_grouped(tmp_path, videos, groups=text)) == ["a", "a", "b"]


def test_folds_hold_every_video_once_groups_whole_and_classes_evenly(tmp_path: Path) -> None:
    videos = write_grouped(tmp_path, persons([1, 1, 1, 2, 2, 3, 1, 1, 2, 4, 1, 1], classes=4))
    plain = list_of([VideoRecord(f"{i}.mp4", 10, i % 7) for i in range(90)], path="here")
    for listed, most in ((videos, 4), (plain, 1)):
        folds = split_folds(listed, folds=4, seed=1)
        tested = [video.path for _, test in folds for video in test]
        assert sorted(tested) == sorted(video.path for video in listed)
        for training, test in folds:
            assert len(training) + len(test) == len(listed)
            assert not set(group_names(training)) & set(group_names(test))
        counts = np.array([np.bincount(test.labels) for _, test in folds])
        assert np.ptp(counts, axis=0).max() <= most  # the most videos of a class in one group
    again, other = split_folds(plain, folds=4, seed=1), split_folds(plain, folds=4, seed=2)
    assert folds[0][1].sha256 == again[0][1].sha256 != other[0][1].sha256


def test_lists_that_cannot_be_divided_are_errors(tmp_path: Path) -> None:
    few = list_of([VideoRecord(f"{i}.mp4", 10, i % 2) for i in range(4)], path="here")
    with pytest.raises(ListError, match="4 groups of videos cannot be divided into 5 folds"):
        split_folds(few, folds=5, seed=0)
    videos = write_grouped(tmp_path, [("one", f"a{i}.mp4", 0) for i in range(3)] + persons([1] * 5, classes=2)[1::2])
    with pytest.raises(ListError, match="class 0 is in one fold only"):
        split_folds(videos, folds=3, seed=0)


def test_the_command_writes_lists_that_keep_names_and_groups(tmp_path: Path) -> None:
    write_grouped(tmp_path, persons([1] * 6, classes=3))
    (tmp_path / "my_list.classes.txt").write_text("a\nb\nc\n")
    for _ in range(2):  # the second time all files exist
        main(["folds", "--list", str(tmp_path / "my_list.txt"), "--folds", "3", "--output", str(tmp_path / "out")])
    for number in (1, 2, 3):
        training, test = (read_list(tmp_path / f"out/my_fold{number}_{split}_list.txt") for split in ("train", "test"))
        assert (len(training), len(test)) == (12, 6)
        assert len(set(group_names(test))) == 2
        assert not set(group_names(training)) & set(group_names(test))
    assert (tmp_path / "out/my_fold3_test_list.classes.txt").read_text() == "a\nb\nc\n"
    with pytest.raises(PrepareError, match="--folds 1: must be 2 or more"):
        main(["folds", "--list", str(tmp_path / "my_list.txt"), "--folds", "1"])
