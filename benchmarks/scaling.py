"""Clips per second of two processes on two cores, against one process with one thread and with two.

Every setting trains in processes of its own on random clips: a step has `micro_batches` forward and backward passes,
then the optimizer. Two processes all-reduce gradients by gloo: after the last micro-batch of a step (no_sync on the
others, as training does) or after every one. The settings run in alternation; the ratio is to one thread in the same
repeat.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --network p3d_resnet18 --batch 2
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
from benchmarks.measuring import Parser, alternate, describe_machine, ratio_text
from layers.losses import HeadsLoss
from utils import distributed

CLASSES = 400
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """Number of processes, threads of each, and whether gradients are all-reduced once per step or per micro-batch."""

    processes: int
    threads: int
    syncs_once: bool = True


SETTINGS = {
    "1 process, 1 thread": Setting(1, 1),
    "1 process, 2 threads": Setting(1, 2),
    "2 processes": Setting(2, 1),
    "2 processes, always in sync": Setting(2, 1, syncs_once=False),
}


def run_steps(options: argparse.Namespace, setting: Setting) -> float:
    """Train as one of the setting's processes; return the clips per second of all of them."""
    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    network = model.create_model(options.network, num_classes=CLASSES, image_size=options.size)
    called = distributed.wrap(network, CPU)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)
    criterion = HeadsLoss()
    clips = torch.randn(options.batch, 3, options.frames, options.size, options.size)
    labels = torch.arange(options.batch)
    began = 0.0
    for step in range(options.steps + 1):
        if step == 1:  # step 0 is a warm-up
            began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        for micro in range(options.micro_batches):
            waits = setting.processes > 1 and setting.syncs_once and micro + 1 < options.micro_batches
            with called.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
                criterion(called(clips), labels).backward()
        optimizer.step()
    seconds = time.perf_counter() - began
    return setting.processes * options.steps * options.micro_batches * options.batch / seconds


def run_setting(name: str) -> float:
    """Run a setting's processes; return the clips per second that the slowest of them reports."""
    setting = SETTINGS[name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads), "CUDA_VISIBLE_DEVICES": ""}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(setting.processes)]
    command = [sys.executable, *torchrun, __file__, *sys.argv[1:], "--setting", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"scaling.py: {name} failed; see its output above")
    return float(done.stdout)


def measure(options: argparse.Namespace) -> None:
    """Run the settings in alternation and print a line for each."""

    def run_and_say(name: str, repeat: int) -> float:
        speed = run_setting(name)
        print(f"repeat {repeat + 1}, {name}: {speed:.2f} clips/s", flush=True)
        return speed

    speeds = alternate({name: partial(run_and_say, name) for name in SETTINGS}, repeats=options.repeats)
    print(f"{options.network}, {options.micro_batches} micro-batches of {options.batch} clips a step and process")
    print(f"  {'':30}{'clips/s':>9}   / 1 thread")
    for name, found in speeds.items():
        ratios = ratio_text(found, speeds["1 process, 1 thread"])
        print(f"  {name:30}{statistics.median(found):9.2f}   {ratios}", flush=True)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(__doc__)
    parser.add_argument("--network", default="dg_p3d_resnet50")
    parser.add_number("--batch", 1, "clips per micro-batch")
    parser.add_number("--micro_batches", 4, "micro-batches per step")
    parser.add_number("--frames", 16, "frames per clip")
    parser.add_number("--size", 112, "height and width of a clip, pixels")
    parser.add_number("--steps", 1, "timed steps per repeat, after an untimed one")
    parser.add_number("--repeats", 3, "repeats of every setting")
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure; or, with --setting, run as one process of a setting."""
    options = parse_options()
    if options.setting is None:
        print(describe_machine())
        measure(options)
        return
    with distributed.session():
        speeds = distributed.gather_objects(run_steps(options, SETTINGS[options.setting]))
        if distributed.is_main():
            print(min(speeds))


if __name__ == "__main__":
    main()
