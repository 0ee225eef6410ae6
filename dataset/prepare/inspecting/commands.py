"""The commands that inspect data: `check` a list, `browse` the clips of a record, `benchmark` its loader. No torch.

`browse` and `benchmark` check their record before they import torch.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset.prepare.annotations import PrepareError
from dataset.prepare.options import add_source_list, add_workers
from utils.config import RunConfig, load_config

CHECK_HELP = "decode frames of every video of a list; write a clean list and rejects"
BROWSE_HELP = "write a page or sheet of training clips and evaluation views, as the network sees them"
BENCHMARK_HELP = "clips per second of a record's loader by stage, what limits it, and what would help"


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the command line of `check`."""
    add_source_list(parser)
    parser.add_argument("--use_flow", action="store_true", help="the videos are optical flow")
    parser.add_argument("--frames", type=int, default=3, help="random frames besides the first and the last (3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random frames (0)")
    parser.add_argument("--output", type=Path, help="folder of the two new lists (that of the list)")
    add_workers(parser)


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config_file", type=Path, required=True, metavar="record/X.yml", help="the record")
    parser.add_argument("--state", type=int, default=1, help="state of the record whose clips are made, from 1 (1)")
    parser.epilog = "section.key=value after the options changes a value of the record, as for the scripts"


def _load(config_file: Path, overrides: Sequence[str], state: int) -> RunConfig:
    """Load a record and check that it has the state, numbered from 1.

    Raises:
        PrepareError: There is no such state.
    """
    config = load_config(config_file, overrides)
    if not 1 <= state <= len(config.states):
        raise PrepareError(f"--state {state}: {config.name} has the states 1..{len(config.states)}")
    return config


def add_browse(parser: argparse.ArgumentParser) -> None:
    """Add the command line of `browse`."""
    _add_record(parser)
    parser.add_argument("--output", type=Path, required=True, help="the new page (.html) or sheet (.png)")
    parser.add_argument("--clips", type=int, default=12, help="training clips to show (12)")
    parser.add_argument("--videos", type=int, default=2, help="evaluation videos whose views are shown (2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of videos (0)")


def run_browse(*, config_file: Path, overrides: Sequence[str], state: int, **options: Any) -> int:
    """Run `browse`; return 0."""
    config = _load(config_file, overrides, state)
    from dataset.prepare.inspecting.of_record import browse  # brings torch, 2 s

    browse(config, state - 1, **options)
    return 0


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """Add the command line of `benchmark`."""
    _add_record(parser)
    parser.add_argument("--clips", type=int, default=128, help="clips to make in each measurement (128)")
    parser.add_argument(
        "--store", nargs=3, action="append", default=[], metavar=("FORMAT", "LIST", "ROOT"), dest="stores",
        help="the same data in another format, for comparison; can be repeated",
    )  # fmt: skip


def run_benchmark(*, config_file: Path, overrides: Sequence[str], state: int, clips: int, **options: Any) -> int:
    """Run `benchmark`; return 0."""
    config = _load(config_file, overrides, state)
    if clips < 1:
        raise PrepareError(f"--clips {clips}: must be at least 1")
    from dataset.prepare.inspecting.of_record import measure_record  # brings torch, 2 s

    measure_record(config, state - 1, clips=clips, **options)
    return 0
