"""How long a user waits: for --help, for the error of a mistyped key, for the first training step.

The embedded data set must be there (python -m dataset.synthetic.embedded --config_file
record/synthetic-dg-p3d-resnet18.yml). The time of importing torch alone stands beside them: no training can begin
before that.

    python benchmarks/startup.py
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import describe_machine

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("train_3d.py", "train_3d_op.py", "extract_score_3d.py", "merge_score.py", "predict_3d.py")
FIRST_STEP = re.compile(rb"\| +1/\d+ \[")  # of the progress bar
RECORD = ("--config_file", "record/synthetic-dg-p3d-resnet18.yml")


def run(*words: str) -> float:
    """Return how long a command of Python takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=False)
    return time.perf_counter() - began


def wait_for_first_step() -> float:
    """Return how long train_3d.py, started as run.sh does, takes to its first step; then it is stopped."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "utils.launch", "train_3d.py", *RECORD, f"logging.output_dir={folder}", "logging.print_freq=1"]
        began = time.perf_counter()
        command = [sys.executable, *words]
        with subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process:
            assert process.stderr is not None
            shown = b""
            while not FIRST_STEP.search(shown) and (more := os.read(process.stderr.fileno(), 4096)):
                shown += more
            seconds = time.perf_counter() - began
            os.killpg(process.pid, signal.SIGKILL)
    if not FIRST_STEP.search(shown):
        raise SystemExit(f"training did not begin: {shown.decode(errors='replace')[-500:]}")
    return seconds


def main() -> None:
    """Measure in alternation, print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (5)")
    options = parser.parse_args()
    measures: dict[str, Callable[[], float]] = {
        f"{script} --help": lambda script=script: run(script, "--help")  # type: ignore[misc]
        for script in SCRIPTS
    }
    measures["train_3d.py, a mistyped key"] = lambda: run("train_3d.py", *RECORD, "optimizer.epoch=1")
    measures["import torch"] = lambda: run("-c", "import torch")
    measures["train_3d.py to the first step"] = wait_for_first_step
    results: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(options.repeats):
        for name, measure in measures.items():
            results[name].append(measure())
    print(describe_machine())
    for name, seconds in results.items():
        print(f"{name:32}{statistics.median(seconds):6.2f} s [{min(seconds):.2f}..{max(seconds):.2f}]")


if __name__ == "__main__":
    main()
