"""Scaling with the data set and the machine: the loader's throughput, a list of 650,000 videos, merging.

workers   clips per second of our loader with 1, 2, 4 and 8 worker processes, relative to one, and divided by the number
          of cores that they can use; medians of paired repeats
list      a list of the size of Kinetics-700: seconds to read and check it, and memory, in a process of its own; memory
          that iterating over it adds to each of several forked processes, like a loader's workers, compared with a
          Python list of (path, label)
merging   merge_score.py for two small lists and a tenth of that one, 30 views x 400 classes, in processor time: the
          tenth is predicted from the small ones by a straight line and measured, the whole is predicted from the
          larger two
baseline  merge_score.py, including figures, for a list of the size of Kinetics-400 (0.95 GB of logits), in alternation
          with a baseline that reads all parts into one array, float64, and sorts it; each in a process of its own

    python benchmarks/scale.py
    python benchmarks/scale.py --parts baseline
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import merge_score
from benchmarks.loader import STORES, add_loader_options, make_data, make_ours, make_transform
from benchmarks.measuring import (
    MEGABYTE,
    Parser,
    alternate,
    describe_machine,
    own_memory,
    peak_resident_bytes,
    ratio_text,
    spread_text,
)
from dataset.listing import VideoRecord, read_list
from dataset.readers import open_reader
from utils.config import RunConfig, load_config
from utils.evaluation.provenance import checkpoint_sha256, make_manifest, scores_folder
from utils.evaluation.result import RESULT_FILES
from utils.evaluation.scores import PartWriter, open_scores
from utils.files import move_to_earlier

CLASSES, CLIPS, CROPS = 400, 10, 3
LONG_LIST = 650_000  # videos of Kinetics-700
WORKERS = (1, 2, 4, 8)  # processes that iterate over it
FRACTIONS = (200, 50, 10)  # denominators of the fractions that are merged; the last one is predicted by the others


def measure_workers(options: argparse.Namespace, root: Path) -> None:
    """Print the loader's clips per second by number of workers."""
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
        runs = {workers: contender.run for workers, contender in contenders.items()}
        speeds = alternate(runs, repeats=options.repeats, untimed=1)
        base = speeds[options.counts[0]]
        print(f"{store}, default: workers, clips/s, / {options.counts[0]} worker, and per core")
        for workers, found in speeds.items():
            used = min(workers, cores)
            ratios = f"{ratio_text(found, base)} {ratio_text([speed / used for speed in found], base)}"
            print(f"  {workers:4}{statistics.median(found):9.1f}   {ratios}", flush=True)


class ListCost(NamedTuple):
    """Seconds to read a list, MB that the process keeps afterward, and MB at the peak."""

    seconds: float
    kept: float
    peak: float


def measure_list(path: Path) -> ListCost:
    """Read a list and measure its cost in this process."""
    before, peak = own_memory().written, peak_resident_bytes()
    began = time.perf_counter()
    videos = read_list(path)
    seconds = time.perf_counter() - began
    kept, peak = own_memory().written - before, peak_resident_bytes() - peak
    assert len(videos)
    return ListCost(seconds, kept, peak / MEGABYTE)


def iterate(videos: Sequence) -> int:
    """Access every video of a list."""
    return sum(len(video.path if isinstance(video, VideoRecord) else video[0]) for video in videos)


def added_memory(videos: Sequence, *, workers: int) -> list[float]:
    """Return the MB that become private to each of `workers` forked processes that iterate over a list together."""
    context = multiprocessing.get_context("fork")
    together = context.Barrier(workers)
    pipes = [context.Pipe(duplex=False) for _ in range(workers)]
    processes = [context.Process(target=_report_added, args=(videos, together, writer)) for _, writer in pipes]
    for process in processes:
        process.start()
    added = [reader.recv() for reader, _ in pipes]
    for process in processes:
        process.join()
    return added


def _report_added(videos: Sequence, together: Barrier, report: Connection) -> None:
    iterate(videos[:1])
    together.wait()  # shared pages count as private once all other processes have ended
    before = own_memory().private
    iterate(videos)
    together.wait()
    after = own_memory().private
    together.wait()
    report.send(after - before)


def report_list(options: argparse.Namespace, root: Path) -> None:
    """Print the cost of a long list, and the memory that each of several workers adds."""
    path = write_list(root / "long.txt", options.list)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        cost = pool.apply(measure_list, (path,))
    print(f"a list of {options.list:,} videos: read in {cost.seconds:.2f} s; {cost.kept:.0f} MB, peak {cost.peak:.0f}")
    packed = read_list(path)
    tuples = [(video.path, video.label) for video in packed]
    print(f"MB that each worker adds by iterating over it\n{'workers':10}{'ours':>22}{'baseline':>22}")
    for workers in WORKERS:
        cells = (spread_text(added_memory(videos, workers=workers), digits=1) for videos in (packed, tuples))
        print(f"{workers:<10}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def write_list(path: Path, videos: int) -> Path:
    """Write a list of `videos` videos."""
    path.write_text("".join(f"class {i % CLASSES}/video_{i:08d}.mp4 300 {i % CLASSES}\n" for i in range(videos)))
    return path


def make_record(root: Path, videos: int) -> RunConfig:
    """Write a record with complete scores: random logits with a high true class."""
    listed = str(write_list(root / "list.txt", videos))
    record = {
        "base": "base_config/kinetics_base.yml",
        "dataset": {"list_file": listed, "eva_list_file": listed, "eva_num_crop": CROPS},
        "sampler": {"num_segments": 1, "clip_length": 16, "num_steps": 1, "batch_size": 1, "iter_size": 1}
        | {"eva_num_segments": 1, "eva_num_clips": CLIPS},
        "network": {"net_name": "p3d_resnet18", "eva_model": str(root / "weights.pth")},
        "logging": {"output_dir": str(root / "output")},
    }
    (root / "weights.pth").write_bytes(b"not read")
    (root / "record.yml").write_text(yaml.safe_dump(record))
    config = load_config(root / "record.yml")
    digest = checkpoint_sha256(config, trained_by="")
    manifest = make_manifest(config, read_list(listed), checkpoint_sha256=digest, precision="float32")
    open_scores(scores_folder(config), manifest)
    rng = np.random.default_rng(0)
    with PartWriter(scores_folder(config), manifest, rank=0) as writer:
        for video in range(videos):
            logits = rng.random((CLIPS, CROPS, CLASSES), dtype=np.float32)
            logits[..., video % CLASSES] += 0.5
            writer.add(video, tuple(range(CROPS)), 6 * logits)
    return config


def merge(config: RunConfig) -> None:
    """Merge as merge_score.py does."""
    merge_score.merge(config, extracted_by="this benchmark", force=True)


def merge_baseline(config: RunConfig) -> list[float]:
    """Return top-1, 3 and 5 computed by the baseline: one array, softmax and full sorts in float64.

    The released code's row of the result, of the logits' k highest clips, is computed, too, but not returned.
    """
    labels = read_list(config.dataset.eva_list_file).labels
    scores = np.zeros((len(labels), CLIPS, CROPS, CLASSES), dtype=np.float32)
    for path in sorted(scores_folder(config).glob("part-*.npz")):
        with np.load(path) as part:
            scores[part["videos"]] = part["scores"]
    clips = np.sort(scores.mean(axis=2, dtype=np.float64), axis=1)[:, ::-1]
    for k in range(1, CLIPS + 1):
        _accuracies(clips[:, :k].mean(axis=1), labels)
    del clips
    mean = np.zeros((len(labels), CLASSES))
    for view in scores.reshape(len(labels), -1, CLASSES).swapaxes(0, 1):
        powers = np.exp(view - view.max(axis=1, keepdims=True), dtype=np.float64)
        mean += powers / powers.sum(axis=1, keepdims=True)
    return _accuracies(mean, labels)


def _accuracies(scores: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return top-1, 3 and 5 of scores [videos, classes] by a full sort."""
    order = np.argsort(-scores, axis=1)[:, :5]
    return [float((order[:, :n] == labels[:, None]).any(axis=1).mean()) for n in (1, 3, 5)]


class Cost(NamedTuple):
    """Wall-clock seconds, processor seconds (hardly affected by other processes), and peak memory, GB."""

    seconds: float
    processor: float
    memory: float


def measure(run: Callable[[RunConfig], object], config: RunConfig) -> Cost:
    """Run in a process of its own; return the cost."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (run, config))


def _timed(run: Callable[[RunConfig], object], config: RunConfig) -> Cost:
    began, processor = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):  # the table of the result
        run(config)
    return Cost(time.perf_counter() - began, time.process_time() - processor, peak_resident_bytes() / 1e9)


def through(points: Sequence[tuple[int, float]], size: int) -> float:
    """Extrapolate the straight line through the last two points to `size`."""
    first, second = points[-2:]
    slope = (second[1] - first[1]) / (second[0] - first[0])
    return second[1] + slope * (size - second[0])


def measure_merging(options: argparse.Namespace, root: Path) -> None:
    """Print the cost of merging at three sizes, and the prediction for the whole list."""
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
    predicted = through(points, options.list)
    print(f"merging {options.list:8,} videos: {predicted:.0f} s of processor time, predicted by the last two")


def measure_baseline(options: argparse.Namespace, root: Path) -> None:
    """Print seconds and memory of merging, ours and the baseline."""
    config = make_record(root, options.merged)

    def merge_anew(_repeat: int) -> Cost:
        move_to_earlier(config.run_dir, RESULT_FILES)
        return measure(merge, config)

    runs = {"ours": merge_anew, "baseline": lambda _: measure(merge_baseline, config)}
    found = alternate(runs, repeats=options.repeats)
    for name, costs in found.items():
        seconds, _, memory = (statistics.median(column) for column in zip(*costs, strict=True))
        print(f"{name:12}{seconds:8.2f} s{memory:8.2f} GB")
    ours, baseline = ([cost.seconds for cost in costs] for costs in found.values())
    print(f"baseline / ours: {ratio_text(baseline, ours).strip()} in time")


PARTS = {"workers": measure_workers, "list": report_list, "merging": measure_merging, "baseline": measure_baseline}


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    add_loader_options(parser, videos=6, clips=48, repeats=3)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of workers (1 2 4 8)")
    parser.add_number("--list", LONG_LIST, "videos of the long list")
    parser.add_number("--merged", 19_796, "videos of the part baseline")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=["RAW-12", "LMDB"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    return parser.parse_args()


def main() -> None:
    """Measure and print the chosen parts."""
    options = parse_options()
    torch.set_num_threads(1)  # waiting threads would spin on cores that the workers need
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for part in options.parts:
            PARTS[part](options, (options.root or Path(temporary)) if part == "workers" else Path(temporary))


if __name__ == "__main__":
    main()
