"""Run a command that writes lists, and read the lists."""

from pathlib import Path

from dataset.heldout import group_names
from dataset.listing import read_list
from dataset.prepare.__main__ import main


def prepare(*words: object, output: Path) -> None:
    main([str(word) for word in (*words, "--output", output, "--workers", "1")])


def records(path: Path) -> list[tuple[str, int, int]]:
    return [(record.path, record.num_frames, record.label) for record in read_list(path)]


def named_groups(path: Path) -> list[tuple[str, str]]:
    videos = read_list(path)
    return [(video.path, group) for video, group in zip(videos, group_names(videos), strict=True)]


def missing(path: Path) -> dict[str, str]:
    lines = path.with_suffix(".missing.txt").read_text().splitlines()
    return dict(line.split("\t") for line in lines)
