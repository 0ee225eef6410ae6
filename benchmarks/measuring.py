"""What measurements share: what they were made on, how they take turns, ratios of their repeats, memory."""

import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path

import cv2
import torch


def describe_machine() -> str:
    """Cores, processor and versions, in a line or two."""
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
    """Return the most memory that this process has had (Linux).

    Not getrusage's ru_maxrss: a new program starts with the peak of the process that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


def ratio_text(numerators: list[float], denominators: list[float]) -> str:
    """Median of the paired ratios, and their range."""
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    return f"{statistics.median(ratios):5.2f} [{min(ratios):.2f}..{max(ratios):.2f}]"
