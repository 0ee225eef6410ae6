"""Seconds of a search with one worker and with several (`search.workers`), and whether both find the same.

A `released` search whose transitions can be trained concurrently, and the peaks and pilots of a `budgeted` one, on the
embedded set, in alternation. Every search is a process of its own, including start-up, with one thread per worker. The
journals of a pair must be equal except for times.

    python benchmarks/workers.py                        # makes data in data/workers; minutes per repeat on two cores
    python benchmarks/workers.py --workers 4 --repeats 3 --policies budgeted
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import ROOT, Parser, describe_machine, ratio_text
from dataset.synthetic import make_synthetic

CLOCKS = ("crc32", "seconds", "scoring_seconds", "clips_per_second", "data_wait_share")
SPACES: dict[str, dict[str, Any]] = {
    # Three concurrent transitions, then three into the goal, each as soon as its start state is decided.
    "released": {
        "inputs": [{"clip_length": 8}, {"clip_length": 16}],
        "lr_factors": [1.0, 0.3],
        "graph": [
            "initial -> (0,0)",
            "initial -> (0,1)",
            "initial -> (1,0)",
            "(0,0) -> (1,1)",
            "(0,1) -> (1,1)",
            "(1,0) -> (1,1)",
        ],
        "attempt_epochs": 2,
        "max_epochs": 4,
    },
    # About 600 steps: up to four runs of peaks of 20 steps each, two pilots, and the path, which is a single training.
    "budgeted": {
        "inputs": [{"crop_size": 40}, {"crop_size": 56}],
        "policy": "budgeted",
        "budget": {"epochs": 24},
        "peaks": [0.5, 1, 2, 4],
        "least_steps": 20,
    },
}


def write_record(folder: Path, data: Path, *, policy: str, workers: int, name: str) -> Path:
    """Write the record of a search."""
    optimizer = {"base_learning_rate": 0.01, "warmup_epoch": -1, "amp": "off"}
    if policy == "budgeted":
        optimizer |= {"envelope": "linear", "envelope_warmup": 0.01}
    record = {
        "base": "base_config/synthetic_base.yml",
        "dataset": {
            "list_file": str(data / "train_list.txt"),
            "root_path": str(data),
            "eva_list_file": str(data / "test_list.txt"),
            "eva_root_path": str(data),
            "num_workers": 0,
        },
        "optimizer": optimizer,
        "sampler": {"clip_length": 16, "num_steps": 1, "batch_size": 8, "eva_num_clips": 1},
        "network": {"net_name": "p3d_resnet18", "base_width": 16, "early_stride": 2},
        "logging": {"output_dir": str(folder / "output")},
        "search": {**SPACES[policy], "heldout_fraction": 0.2, "workers": workers},
    }
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(record))
    return path


def search(record: Path) -> tuple[float, list[dict[str, Any]]]:
    """Run a search; return its seconds, and its journal without times."""
    words = [sys.executable, "train_3d_op.py", "--config_file", str(record)]
    began = time.perf_counter()
    subprocess.run(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    journal = record.parent / "output" / record.stem / "search" / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    return seconds, [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines]


def compare(policy: str, data: Path, *, workers: int, repeats: int) -> None:
    """Print the seconds of every pair of searches, and their ratios."""
    alone, together = list[float](), list[float]()
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as place:
            counts = (1, workers) if repeat % 2 == 0 else (workers, 1)
            records = {
                count: write_record(Path(place), data, policy=policy, workers=count, name=f"workers-{count}")
                for count in counts
            }
            found = {count: search(records[count]) for count in counts}
        assert found[1][1] == found[workers][1], "the journals differ"
        alone.append(found[1][0])
        together.append(found[workers][0])
        print(f"{policy}: 1 worker {alone[-1]:.1f} s, {workers} workers {together[-1]:.1f} s", flush=True)
    print(f"{policy}: 1 worker / {workers} workers {ratio_text(alone, together)}", flush=True)


def main() -> None:
    """Compare the chosen policies."""
    parser = Parser(__doc__)
    parser.add_number("--workers", 2, "workers that are compared with one")
    parser.add_number("--repeats", 3, "pairs of searches per policy")
    parser.add_argument("--policies", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "workers")
    options = parser.parse_args()
    print(describe_machine())
    if not (options.data / "train_list.txt").exists():
        make_synthetic(options.data, num_train=240, num_test=60, size=56, frames=16, workers=2)
    for policy in options.policies:
        compare(policy, options.data, workers=options.workers, repeats=options.repeats)


if __name__ == "__main__":
    main()
