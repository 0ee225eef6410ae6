"""Cross-validation lists: divide a list into folds, each the test list of a training on all other folds."""

import argparse
from pathlib import Path

from dataset.heldout import split_folds
from dataset.listing import class_names_beside, read_fingerprint, read_list
from dataset.prepare.annotations import PrepareError
from dataset.prepare.lists import ListFile, write_list

HELP = "divide a list into folds: a training and a test list for each, groups kept together"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line."""
    parser.add_argument("--list", type=Path, required=True, dest="listed", help="list of lines 'path num_frames label'")
    parser.add_argument("--folds", type=int, default=5, help="number of folds (5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random division (0)")
    parser.add_argument("--output", type=Path, help="folder of the new lists (that of the list)")


def run(*, listed: Path, folds: int, seed: int, output: Path | None) -> int:
    """Write X_fold1_train_list.txt, X_fold1_test_list.txt and so on for X_list.txt; return 0, as no video is rejected.

    Raises:
        PrepareError, ListError: The list cannot be divided, or files with other content exist.
    """
    if folds < 2:
        raise PrepareError(f"--folds {folds}: must be 2 or more")
    videos, classes = read_list(listed), class_names_beside(listed)
    root = Path(read_fingerprint(listed).get("root", listed.parent))
    folder, name = output or listed.parent, listed.stem.removesuffix("_list")
    for number, parts in enumerate(split_folds(videos, folds=folds, seed=seed), start=1):
        for split, part in zip(("train", "test"), parts, strict=True):
            path = folder / f"{name}_fold{number}_{split}_list.txt"
            write_list(ListFile.of(path, part), classes, root=root, files=(listed,))
    return 0
