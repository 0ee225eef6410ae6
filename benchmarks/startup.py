"""Start-up time: of --help, of the error of a mistyped key, up to the first training step.

The embedded data set must exist (python -m dataset.synthetic.embedded --config_file
record/synthetic-dg-p3d-resnet18.yml). The time of `import torch` is measured, too, as a lower bound.

    python benchmarks/startup.py
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import ROOT, Parser, alternate, describe_machine, seconds_of, spread_text

SCRIPTS = ("train_3d.py", "train_3d_op.py", "extract_score_3d.py", "merge_score.py", "predict_3d.py")
FIRST_STEP = re.compile(rb"\| +1/\d+ \[")  # of the progress bar
RECORD = ("--config_file", "record/synthetic-dg-p3d-resnet18.yml")


def run(words: Sequence[str], _repeat: int) -> float:
    """Return the seconds that a Python command takes."""
    command = [sys.executable, *words]
    return seconds_of(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, check=False))


def wait_for_first_step(_repeat: int) -> float:
    """Return the seconds that train_3d.py, started as by run.sh, takes to its first step; then kill it."""
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
    """Measure in alternation and print medians."""
    parser = Parser(__doc__)
    parser.add_number("--repeats", 5, "runs of each command")
    options = parser.parse_args()
    measures: dict[str, Callable[[int], float]] = {
        **{f"{script} --help": partial(run, (script, "--help")) for script in SCRIPTS},
        "train_3d.py, a mistyped key": partial(run, ("train_3d.py", *RECORD, "optimizer.epoch=1")),
        "import torch": partial(run, ("-c", "import torch")),
        "train_3d.py to the first step": wait_for_first_step,
    }
    results = alternate(measures, repeats=options.repeats)
    print(describe_machine())
    for name, seconds in results.items():
        print(f"{name:32} {spread_text(seconds)} s")


if __name__ == "__main__":
    main()
