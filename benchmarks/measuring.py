"""Helpers of all benchmarks: description of the machine, alternating measurements, ratios of repeats, memory."""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import torch

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
Name = TypeVar("Name")
Value = TypeVar("Value")
MEGABYTE = 2**20


class Parser(argparse.ArgumentParser):
    """A benchmark's command line; its help is the script's docstring."""

    def __init__(self, description: str | None) -> None:
        """Create a parser without options."""
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add_number(self, name: str, default: float, about: str) -> None:
        """Add an option with a numeric default, which its help shows."""
        self.add_argument(name, type=type(default), default=default, help=f"{about} ({default:g})")

    def add_clips(self, *, batch: int, size: int, frames: int = 16, base_width: int = 64) -> None:
        """Add options for a network and its random clips; the arguments are the defaults."""
        self.add_number("--base_width", base_width, "channels of the first stage")
        self.add_number("--batch", batch, "clips per batch")
        self.add_number("--frames", frames, "frames per clip")
        self.add_number("--size", size, "height and width of a clip, pixels")


def describe_machine() -> str:
    """Return cores, processor, GPU and versions, in two lines."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    except OSError:
        names = []
    processor = names[0] if names else platform.processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "av", "lmdb", "pillow"))
    versions = f"Python {platform.python_version()} {versions} opencv {cv2.__version__}"
    return f"{cores} cores of {processor}, {device}\n{versions}"


def peak_resident_bytes() -> int:
    """Return the peak resident memory of this process, in bytes (Linux).

    getrusage's ru_maxrss is not used, since a new program inherits the peak of the process that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


def wait(device: torch.device) -> None:
    """Wait until a device has finished all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(act: Callable[[], object], device: torch.device = CPU) -> float:
    """Return the seconds that a call takes, including the work that it queues on a device."""
    wait(device)
    began = time.perf_counter()
    act()
    wait(device)
    return time.perf_counter() - began


def alternate(
    measures: Mapping[Name, Callable[[int], Value]], *, repeats: int, untimed: int = 0
) -> dict[Name, list[Value]]:
    """Measure in alternation, so that a machine that becomes slower does so for all measurements.

    Args:
        measures: Functions from the index of the repeat to a measurement, by name.
        repeats: Number of repeats that count.
        untimed: Number of warm-up repeats before these.

    Returns:
        The measurements of all repeats, by name.
    """
    found: dict[Name, list[Value]] = {name: [] for name in measures}
    for repeat in range(untimed + repeats):
        for name, measure in measures.items():
            value = measure(repeat)
            if repeat >= untimed:
                found[name].append(value)
    return found


def spread_text(
    values: Sequence[float], *, digits: int = 2, middle: Callable[[Sequence[float]], float] = statistics.median
) -> str:
    """Return the median (or another `middle`) of repeats, the smallest and the largest, as text."""
    return f"{middle(values):.{digits}f} [{min(values):.{digits}f}..{max(values):.{digits}f}]"


def ratio_text(numerators: Sequence[float], denominators: Sequence[float]) -> str:
    """Return the median of the paired ratios, and their range, as text."""
    return f"{spread_text([above / below for above, below in zip(numerators, denominators, strict=True)]):>19}"


class Memory(NamedTuple):
    """Private memory of a process, MB: all of it, and the part that it has written (without mapped files)."""

    private: float
    written: float


def own_memory() -> Memory:
    """Return the private memory of this process (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    sizes = {name: int(rest.split()[0]) * 1024 / MEGABYTE for name, rest in (line.split(":") for line in lines)}
    return Memory(sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Private_Dirty"])
