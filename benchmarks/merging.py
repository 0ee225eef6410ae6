"""Seconds and memory of merging at the size of Kinetics-400, against the way that holds all scores in memory.

It writes logits as extract_score_3d.py does (19,796 videos x 10 clips x 3 crops x 400 classes, 0.95 GB), then merges
them with merge_score.py, pictures included, and with the baseline: every part read into one array, float64, sorted.
Each runs in a process of its own, in alternation.

    python benchmarks/merging.py
"""

import argparse
import contextlib
import io
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import merge_score
from benchmarks.measuring import describe_machine, peak_resident_bytes
from dataset.listing import read_list
from utils.config import RunConfig, load_config
from utils.evaluation.provenance import checkpoint_sha256, make_manifest, scores_folder
from utils.evaluation.result import RESULT_FILES
from utils.evaluation.scores import PartWriter, open_scores
from utils.files import move_to_earlier

CLASSES, CLIPS, CROPS = 400, 10, 3
LONG_LIST = 650_000  # of Kinetics-700


def write_list(path: Path, videos: int) -> Path:
    """Write a list with so many videos."""
    path.write_text("".join(f"class {i % CLASSES}/video_{i:08d}.mp4 300 {i % CLASSES}\n" for i in range(videos)))
    return path


def make_record(root: Path, videos: int) -> RunConfig:
    """Write a record whose logits are complete: random ones, where the true class is often high."""
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
    manifest = make_manifest(
        config,
        list_sha256=read_list(listed).sha256,
        num_videos=videos,
        checkpoint_sha256=checkpoint_sha256(config, trained_by=""),
        precision="float32",
    )
    open_scores(scores_folder(config), manifest)
    rng = np.random.default_rng(0)
    with PartWriter(scores_folder(config), manifest, rank=0) as writer:
        for video in range(videos):
            logits = rng.random((CLIPS, CROPS, CLASSES), dtype=np.float32)
            logits[..., video % CLASSES] += 0.5
            writer.add(video, tuple(range(CROPS)), 6 * logits)
    return config


def merge(config: RunConfig) -> None:
    """Our way: merge_score.py."""
    merge_score.merge(config, extracted_by="this benchmark", force=True)


def merge_plainly(config: RunConfig) -> list[float]:
    """Return top-1, 3 and 5 as the baseline finds them: one array, softmax and sorts in float64, full ones.

    The first of both rows of a result comes back; the released one, of the logits' k highest clips, is computed too.
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
    """Top-1, 3 and 5 of scores [videos, classes], by sorting all of them."""
    order = np.argsort(-scores, axis=1)[:, :5]
    return [float((order[:, :n] == labels[:, None]).any(axis=1).mean()) for n in (1, 3, 5)]


class Cost(NamedTuple):
    """Seconds; those of processor time, which other processes hardly change; the most memory, in GB."""

    seconds: float
    processor: float
    memory: float


def measure(run: Callable[[RunConfig], object], config: RunConfig) -> Cost:
    """Run in a process of its own; return what that took."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (run, config))


def _timed(run: Callable[[RunConfig], object], config: RunConfig) -> Cost:
    began, processor = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):  # the table of the result
        run(config)
    return Cost(time.perf_counter() - began, time.process_time() - processor, peak_resident_bytes() / 1e9)


def report(name: str, results: Sequence[Cost]) -> None:
    """Print medians."""
    seconds, _, memory = (statistics.median(column) for column in zip(*results, strict=True))
    print(f"{name:12}{seconds:8.2f} s{memory:8.2f} GB")


def main() -> None:
    """Write, merge in alternation, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=19_796, help="of the list (19796)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way (3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = make_record(Path(folder), options.videos)
        ours, plain = [], []
        for _ in range(options.repeats):
            ours.append(measure(merge, config))
            plain.append(measure(merge_plainly, config))
            move_to_earlier(config.run_dir, RESULT_FILES)
    ratios = [b[0] / a[0] for a, b in zip(ours, plain, strict=True)]
    print(describe_machine())
    report("ours", ours)
    report("baseline", plain)
    print(f"plain / ours: {statistics.median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}] in time")


if __name__ == "__main__":
    main()
