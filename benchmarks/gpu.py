"""All GPU benchmarks in one command of minutes; without a GPU it says so and exits with 2.

steps         float32, TF32, bf16, channels last, fused SGD, CUDA graphs, compile: time, memory and results
              (training_step.py)
limits        rate of the convolutions as a fraction of a matrix product's; largest batch; time spent waiting for the
              loader (gpu_step.py)
convolutions  3D convolutions of cuDNN that are wrong in half precision, or slower than in float32 (gpu_convolutions.py)
precision     loss curves of 200 steps in bf16 and in float32, three seeds (precision.py)
run           the embedded experiment: training, scores, result (run.sh)
search        the embedded search, then its scores and result

Each part is one command, which is printed with its duration and can be run on its own; if a part fails, the others
still run, and the last line names it. The embedded parts write to --output.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --parts convolutions run

It has not been run on a GPU yet: `--device cpu` runs the same commands on tiny settings.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import ROOT, Parser
from benchmarks.training_step import require_gpu

VARIANTS = ["tf32", "fused", "blocks", "bf16", "bf16-last", "bf16-tries", "bf16-graphs", "bf16-compile", "bf16-both"]
# Options that make the command of each part tiny, for a CPU.
SMALL = "--device cpu --base_width 8 --frames 8 --size 32 --batch 2 --repeats 1"
ONE_VIEW = "network.base_width=8 dataset.eva_num_crop=1 sampler.eva_num_clips=1"
TINY = {
    "steps": f"{SMALL} --networks p3d_resnet18 --variants bf16",
    "limits": f"{SMALL} --network p3d_resnet18 --largest 2 --warmup 1 --matmul 64 --workers 1 --videos 2 "
    "--video_frames 20",
    "convolutions": f"{SMALL} --network p3d_resnet18",
    "precision": "--network p3d_resnet18 --base_width 8 --frames 4 --size 32 --seeds 1 --steps 2 --parts 1",
    "run": f"{ONE_VIEW} optimizer.epochs=1 optimizer.warmup_epoch=-1",
    "search": f"{ONE_VIEW} search.max_epochs=2",
}


def make_commands(options: argparse.Namespace, output: Path) -> dict[str, list[str]]:
    """Return the command of each part."""
    python, width = sys.executable, ["--network", "dg_p3d_resnet50", "--base_width", "64"]
    embedded = [f"logging.output_dir={output}", "optimizer.amp=auto"]
    commands = {
        "steps": [python, "benchmarks/training_step.py", "--device", "cuda", "--batch", "32", "--size", "224"]
        + ["--repeats", "20", "--variants", *VARIANTS],
        "limits": [python, "benchmarks/gpu_step.py", "--workers", str(options.workers), "--stores", "LMDB", "RAW-12"],
        "convolutions": [python, "benchmarks/gpu_convolutions.py"],
        "precision": [python, "benchmarks/precision.py", *width, "--frames", "16", "--size", "112", "--batch", "8"]
        + ["--seeds", "3", "--steps", "200", "--parts", "10"],
        "run": ["bash", "run.sh", "synthetic-dg-p3d-resnet18", *embedded],
        "search": ["env", "SEARCH=1", "bash", "run.sh", "search-synthetic-dg-p3d-resnet18", *embedded],
    }
    if options.device == "cpu":
        commands = {part: command + TINY[part].split() for part, command in commands.items()}
    return commands


def run_part(part: str, command: list[str], *, device: str) -> bool:
    """Run the command of a part on a device; return whether it succeeded."""
    print(f"== {part}: {' '.join(command)}", flush=True)
    environment = {"PYTHON": sys.executable, **os.environ} | ({"DEVICE": "cpu"} if device == "cpu" else {})
    began = time.perf_counter()
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    print(f"== {part}: {time.perf_counter() - began:.0f} s, exit status {code}", flush=True)
    return code == 0


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", nargs="+", choices=TINY, default=list(TINY))
    parser.add_number("--workers", 16, "processes of the loader that feeds the steps")
    parser.add_argument("--output", type=Path, help="folder for runs of the embedded experiment (default: temporary)")
    return parser.parse_args()


def main() -> None:
    """Run the chosen parts; exit with 1 if one failed."""
    options = parse_options()
    require_gpu(options.device)
    with tempfile.TemporaryDirectory() as temporary:
        commands = make_commands(options, options.output or Path(temporary))
        failed = [part for part in options.parts if not run_part(part, commands[part], device=options.device)]
    print(f"failed: {', '.join(failed)}" if failed else "all parts ran")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
