"""What grows with the data set and the machine: the loader's throughput, a list of 650,000 videos, merging.

workers   clips per second of our loader with 1, 2, 4 and 8 worker processes, over those with one, and that over the
          cores that they can use; medians of paired repeats
list      a list of the size of Kinetics-700: seconds to read and check it, and memory, in a process of its own
merging   merge_score.py for two small lists and a tenth of that one, 30 views x 400 classes, in processor time: what
          the small ones say of the tenth by a straight line, what it takes, and what both larger ones say of the whole

    python benchmarks/scale.py
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loader import STORES, add_loader_options, make_data, make_ours, make_transform
from benchmarks.measuring import describe_machine, peak_resident_bytes, ratio_text
from benchmarks.memory import own_memory
from benchmarks.merging import LONG_LIST, make_record, measure, merge, write_list
from dataset.listing import read_list
from dataset.readers import open_reader

FRACTIONS = (200, 50, 10)  # of the list that is merged, ascending; the last is predicted by the others


def measure_workers(options: argparse.Namespace, root: Path) -> None:
    """Print the loader's clips per second by the number of its workers."""
    make_data(root, videos=options.videos, frames=options.frames)
    cores = len(os.sched_getaffinity(0))
    for store in options.stores:
        videos, reader = read_list(root / f"{store}.txt"), open_reader(STORES[store][0], root / store)
        contenders = {
            workers: make_ours(
                argparse.Namespace(**vars(options) | {"workers": workers}),
                videos,
                reader,
                make_transform(options, "default"),
            )
            for workers in options.counts
        }
        speeds: dict[int, list[float]] = {workers: [] for workers in contenders}
        for repeat in range(options.repeats + 1):
            for workers, contender in contenders.items():
                speed = contender.run(repeat)
                speeds[workers] += [speed] if repeat else []
        base = speeds[options.counts[0]]
        print(f"{store}, default: workers, clips/s, / {options.counts[0]} worker, and a core")
        for workers, found in speeds.items():
            used = min(workers, cores)
            ratios = f"{ratio_text(found, base)} {ratio_text([speed / used for speed in found], base)}"
            print(f"  {workers:4}{statistics.median(found):9.1f}   {ratios}", flush=True)


class ListCost(NamedTuple):
    """Seconds to read a list; MB that the process has more afterwards, and that it has at most."""

    seconds: float
    kept: float
    peak: float


def measure_list(path: Path) -> ListCost:
    """Read a list and measure what it takes in this process."""
    before, peak = own_memory().written, peak_resident_bytes()
    began = time.perf_counter()
    videos = read_list(path)
    seconds = time.perf_counter() - began
    kept, peak = own_memory().written - before, peak_resident_bytes() - peak
    assert len(videos)
    return ListCost(seconds, kept, peak / 2**20)


def report_list(options: argparse.Namespace, root: Path) -> None:
    """Print what a long list takes."""
    path = write_list(root / "long.txt", options.list)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        cost = pool.apply(measure_list, (path,))
    print(
        f"a list of {options.list:,} videos: read in {cost.seconds:.2f} s; {cost.kept:.0f} MB, {cost.peak:.0f} at most"
    )


def through(points: Sequence[tuple[int, float]], size: int) -> float:
    """Return the value at a size of the straight line through the last two points."""
    first, second = points[-2:]
    slope = (second[1] - first[1]) / (second[0] - first[0])
    return second[1] + slope * (size - second[0])


def measure_merging(options: argparse.Namespace, root: Path) -> None:
    """Print what merging takes at three sizes, and what follows for the whole list."""
    points: list[tuple[int, float]] = []
    for fraction in FRACTIONS:
        videos = options.list // fraction
        folder = root / f"merging{fraction}"
        folder.mkdir()
        cost = measure(merge, make_record(folder, videos))
        said = f" ({through(points, videos):.2f} s predicted)" if len(points) == 2 else ""
        points.append((videos, cost.processor))
        print(
            f"merging {videos:8,} videos: {cost.seconds:6.2f} s, {cost.processor:.2f} s of processor time{said}, "
            f"{cost.memory:.2f} GB",
            flush=True,
        )
    print(f"merging {options.list:8,} videos: {through(points, options.list):.0f} s of processor time by the last two")


PARTS = {"workers": measure_workers, "list": report_list, "merging": measure_merging}


def parse_options() -> argparse.Namespace:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_loader_options(parser, videos=6, clips=48, repeats=3)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8], help="of workers (1 2 4 8)")
    parser.add_argument("--list", type=int, default=LONG_LIST, help=f"videos of the long list ({LONG_LIST})")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=["RAW-12", "LMDB"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    return parser.parse_args()


def main() -> None:
    """Measure and print the parts that are asked for."""
    options = parse_options()
    torch.set_num_threads(1)  # threads that wait for each other spin, on cores that the workers need
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for part in options.parts:
            PARTS[part](options, (options.root or Path(temporary)) if part == "workers" else Path(temporary))


if __name__ == "__main__":
    main()
