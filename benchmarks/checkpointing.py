"""Memory and time of a training step with and without network.checkpoint_blocks.

Every setting runs in a process of its own: forward, loss and backward pass of random clips. Memory is the most that
such a step needed at once beyond weights, gradients and clips (on a GPU what torch allocated, on a CPU the resident
memory of the process, read every few milliseconds); time is the median of the steps behind the first one. The settings
run in alternation.

    python benchmarks/checkpointing.py --networks p3d_resnet50 vit_s_p16 --batch 2
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
from benchmarks.measuring import describe_machine

CLASSES = 400
# The C library gives large blocks back to the system as soon as they are free, so that resident memory is what is used.
ENVIRONMENT = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


class PeakMemory:
    """The largest memory in use while it is entered, beyond what was in use before, in bytes."""

    def __init__(self, device: torch.device) -> None:
        """Watch a device."""
        self.device, self.bytes = device, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "PeakMemory":
        """Begin to watch."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            self._before = resident_bytes()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and leave the result in `bytes`."""
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated() - self._before
        else:
            self._done.set()
            self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.bytes = max(self.bytes, resident_bytes() - self._before)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run_steps(options: argparse.Namespace, net_name: str, *, checkpoint_blocks: bool) -> tuple[float, float]:
    """Return the largest memory of a step in MiB and the median seconds, of all steps but the first."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    network = model.create_model(
        net_name, num_classes=CLASSES, image_size=options.size, checkpoint_blocks=checkpoint_blocks
    ).to(device)
    clips = torch.randn(options.batch, 3, options.clip, options.size, options.size, device=device)
    labels = torch.randint(0, CLASSES, (options.batch,), device=device)
    memory, seconds = [], []
    for step in range(options.steps + 1):  # gradients stay and add up: they are there before a step that counts
        began = time.perf_counter()
        with PeakMemory(device) as peak:
            torch.stack([F.cross_entropy(head, labels) for head in network(clips)]).sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
        if step > 0:
            memory.append(peak.bytes / 2**20)
            seconds.append(time.perf_counter() - began)
    return max(memory), statistics.median(seconds)


def measure(options: argparse.Namespace) -> None:
    """Run every setting in processes of its own and print a line for each network."""
    print(f"{'':24}{'MiB: plain':>12}{'blocks':>9}{'s/step: plain':>16}{'blocks':>9}")
    for net_name in options.networks:
        found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(options.repeats):
            for flag, results in found.items():
                command = [sys.executable, __file__, *sys.argv[1:], "--run", net_name, str(int(flag))]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
                memory, seconds = done.stdout.split()
                results.append((float(memory), float(seconds)))
        columns = [
            statistics.median(result[column] for result in found[flag]) for column in (0, 1) for flag in (False, True)
        ]
        print(f"{net_name:24}{columns[0]:12.0f}{columns[1]:9.0f}{columns[2]:16.3f}{columns[3]:9.3f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["p3d_resnet50", "dg_p3d_resnet50", "vit_s_p16"])
    parser.add_argument("--batch", type=int, default=2, help="clips a step (2)")
    parser.add_argument("--clip", type=int, default=16, help="frames a clip (16)")
    parser.add_argument("--size", type=int, default=112, help="pixels (112)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that is not (3)")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each setting (3)")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(*run_steps(options, options.run[0], checkpoint_blocks=options.run[1] == "1"))
        return
    print(describe_machine())
    measure(options)


if __name__ == "__main__":
    main()
