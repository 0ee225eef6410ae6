"""Seconds a video of evaluation with 10 clips x 3 crops against the baseline: loading alone, and whole extractions.

Loading ends with normalized float views on the device (a GPU if there is one), the network's input. Ours is what
extract_score_3d.py runs, with a network that ignores its input; the baseline loads one item per view
(baseline_evaluation.py). The benchmark makes its own videos of 340 x 256 pixels: no resize for crops of 256. A whole
extraction (--network) is the script extract_score_3d.py against the script baseline_evaluation.py, including start-up,
with random weights; the scores are compared. A ratio is the median over the repeats, with the smallest and largest.

    python benchmarks/evaluation.py --sizes 256 224
    python benchmarks/evaluation.py --stores LMDB RAW-250 --sizes 112 --network 8 --videos 200 --repeats 1
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import helpers
from benchmarks.baseline_evaluation import make_baseline_loader
from benchmarks.loader import STORES, make_data
from benchmarks.measuring import ROOT, Parser, alternate, describe_machine, ratio_text, seconds_of
from benchmarks.memory import link_video
from dataset.build import make_views_loader, read_evaluation_list
from dataset.listing import read_list
from model.build import make_initial_network
from utils.config import load_config
from utils.evaluation.provenance import scores_folder
from utils.evaluation.score_index import index_scores
from utils.evaluation.scores import read_manifest
from utils.metrics import probabilities


class NullNetwork(nn.Module):
    """A network that ignores its input."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return zero scores of one class, [N, 1]."""
        return clips.new_zeros((len(clips), 1))

    def fuse(self, heads: torch.Tensor) -> torch.Tensor:
        """Return the only head."""
        return heads


def make_record(options: argparse.Namespace, root: Path, *, store: str, crop_size: int) -> Path:
    """Write a record with random weights; its list repeats the videos of a store under different names."""
    folder = root / f"{store}-{crop_size}"
    distinct = read_list(root / f"{store}.txt")
    lines = []
    for number in range(options.videos):
        video = distinct[number % len(distinct)]
        link = root / store / f"copy{number}{Path(video.path).suffix}"
        if not link.exists():
            link_video(root / store / video.path, link)
        lines.append(f"{link.name} {video.num_frames} {video.label}\n")
    folder.mkdir(exist_ok=True)
    (folder / "list.txt").write_text("".join(lines))
    listed, pixels = str(folder / "list.txt"), str(root / store)
    record = {
        "base": "base_config/own_base.yml",
        "dataset": {"format": STORES[store][0], "num_classes": 20, "num_workers": options.workers}
        | {"list_file": listed, "eva_list_file": listed, "root_path": pixels, "eva_root_path": pixels}
        | {"crop_size": crop_size, "eva_crop_size": crop_size, "eva_num_crop": options.crops},
        "sampler": {"num_segments": 1, "clip_length": options.length, "num_steps": options.steps, "iter_size": 1}
        | {"batch_size": options.clips, "eva_num_segments": 1, "eva_num_clips": options.clips},
        "optimizer": {"amp": "off"},
        "network": {"net_name": "p3d_resnet18", "base_width": options.network or 8},
        "logging": {"output_dir": str(folder / "output")},
    }
    path = folder / "record.yml"
    path.write_text(yaml.safe_dump(record))
    config = load_config(path)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    torch.save({"network": make_initial_network(config, trained=None).state_dict()}, config.weights_path)
    return path


def load_ours(record: Path) -> float:
    """Load every view as extract_score_3d.py does; return seconds per video."""
    config = load_config(record)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    videos = read_evaluation_list(config)
    crops = tuple(range(config.dataset.eva_num_crop))
    scorer = helpers.make_view_scorer(config, network=NullNetwork(), dtype=None, device=device)

    def load() -> None:
        for video in make_views_loader(config, videos=videos, indices=range(len(videos))):
            scorer(video.frames, video.clip_frames, crops)

    return seconds_of(load) / len(videos)


def load_baseline(record: Path) -> float:
    """Load every view as the baseline does; return seconds per video."""
    config = load_config(record)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = make_baseline_loader(config)

    def load() -> None:
        for views in loader:
            views.to(device)

    return seconds_of(load, device) / len(read_evaluation_list(config))


def run(*words: str) -> float:
    """Run a script of this project with one OpenMP thread unless set otherwise; return seconds."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    command = [sys.executable, *words]
    return seconds_of(lambda: subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True))


def extract(record: Path) -> float:
    """Run our extraction as a user does; return seconds per video."""
    seconds = run("-m", "utils.launch", "extract_score_3d.py", "--config_file", str(record), "--force")
    return seconds / len(read_evaluation_list(load_config(record)))


def extract_baseline(record: Path) -> float:
    """Run the baseline extraction; return seconds per video."""
    words = ["--config_file", str(record), "--output", str(record.with_name("baseline.npy"))]
    return run("benchmarks/baseline_evaluation.py", *words) / len(read_evaluation_list(load_config(record)))


def compare_scores(record: Path) -> tuple[float, float]:
    """Return the largest difference of both extractions' logits, and the fraction of videos with equal top class."""
    folder = scores_folder(load_config(record))
    manifest = read_manifest(folder)
    assert manifest is not None
    ours = np.concatenate([scores for _, scores in index_scores(folder, manifest).blocks()]).swapaxes(1, 2)
    baseline = np.load(record.with_name("baseline.npy"))
    best = [probabilities(scores).mean(axis=(1, 2)).argmax(axis=1) for scores in (ours, baseline)]
    return float(np.abs(ours - baseline).max()), float((best[0] == best[1]).mean())


def measure(options: argparse.Namespace, record: Path, title: str) -> None:
    """Measure ours and the baseline in alternation and print a line."""
    as_baseline, as_ours = (extract_baseline, extract) if options.network else (load_baseline, load_ours)
    runs = {"baseline": lambda _: as_baseline(record), "ours": lambda _: as_ours(record)}
    baseline, ours = alternate(runs, repeats=options.repeats).values()
    scores = "{:.1e}, {:.1%}".format(*compare_scores(record)) if options.network else ""
    medians = f"{statistics.median(baseline):10.3f}{statistics.median(ours):10.3f}"
    print(f"{title:16}{medians}   {ratio_text(baseline, ours):24}{scores}", flush=True)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_number("--videos", 12, "length of the list")
    parser.add_number("--distinct", 12, "videos to make; the list repeats them under other names")
    parser.add_number("--frames", 300, "frames per video")
    parser.add_number("--workers", 2, "processes of each loader")
    parser.add_number("--clips", 10, "clips per video, and views per batch")
    parser.add_number("--crops", 3, "crops per clip")
    parser.add_number("--length", 16, "frames per clip")
    parser.add_number("--steps", 1, "distance of a clip's frames")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256], help="sides of the crops, in pixels (256)")
    parser.add_number("--repeats", 3, "runs of ours and of the baseline")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument(
        "--network",
        type=int,
        help="measure whole extractions, with p3d_resnet18 of this width (default: loading alone)",
    )
    parser.add_argument("--root", type=Path, help="folder to keep the videos in (default: temporary)")
    return parser.parse_args()


def main() -> None:
    """Make the videos, measure, print."""
    options = parse_options()
    torch.set_num_threads(1)
    print(describe_machine())
    print(f"{'store, size':16}{'baseline':>10}{'ours':>10}   {'s a video; baseline / ours':24}", end="")
    print("largest difference of logits, same best class" if options.network else "")
    with tempfile.TemporaryDirectory() as temporary:
        root = options.root or Path(temporary)
        make_data(root, videos=options.distinct, frames=options.frames)
        for size in options.sizes:
            for store in options.stores:
                measure(options, make_record(options, root, store=store, crop_size=size), f"{store}, {size}")


if __name__ == "__main__":
    main()
