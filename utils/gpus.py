"""Which GPUs a machine has and why torch cannot use them: nothing runs on the CPU by accident. No torch."""

import importlib.util
import os
import re
import runpy
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError

_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
# One of these is there for each GPU, if only for the small boards' one: NVIDIA's drivers make them.
_NVIDIA_FILES = ("dev/nvidia[0-9]*", "dev/nvhost*", "dev/nvmap", "dev/nvgpu*")
# CUDA's major version: the oldest driver for Linux that runs it, and torch's index of builds for it
# (docs.nvidia.com/deploy/cuda-compatibility, "minor version compatibility").
_DRIVERS = {13: ((580,), "cu130"), 12: ((525, 60), "cu126"), 11: ((450, 80), "cu118")}


class GpuError(UserError):
    """A GPU that is there and cannot be used."""


@dataclass(frozen=True)
class Gpu:
    """The make of a GPU that is not hidden, "" for none, and its driver's version, "" where nothing says it."""

    make: str = ""
    driver: str = ""


@dataclass(frozen=True)
class Build:
    """The torch that is installed: its version, and those of CUDA and HIP that it is built for, None for neither."""

    version: str
    cuda: str | None
    hip: str | None


def hide_gpus_on_request(environment: MutableMapping[str, str]) -> None:
    """Let DEVICE=cpu hide all GPUs from torch, which must not have been asked for one yet.

    Raises:
        GpuError: DEVICE is anything else.
    """
    device = environment.get("DEVICE", "")
    if device not in ("", "cpu"):
        raise GpuError(f"DEVICE={device}: must be cpu, or not be set: a GPU is taken where there is one")
    if device:
        environment.update(dict.fromkeys(_HIDING, ""))


def find_gpu(environment: Mapping[str, str] = os.environ, *, root: Path = Path("/")) -> Gpu:
    """Return the GPU that drivers have made files for below `root`."""
    if any(environment.get(name) in ("", "-1") for name in _HIDING):
        return Gpu()
    is_windows_guest = (root / "dev/dxg").exists() and (root / "usr/lib/wsl/lib/nvidia-smi").exists()
    if is_windows_guest or any(file for pattern in _NVIDIA_FILES for file in root.glob(pattern)):
        said = root / "proc/driver/nvidia/version"
        found = re.search(r"Module.*?\s(\d+(?:\.\d+)+)\s", said.read_text()) if said.exists() else None
        return Gpu("NVIDIA", found[1] if found else "")
    return Gpu("AMD") if (root / "dev/kfd").exists() else Gpu()


def read_build() -> Build | None:
    """Return what torch is installed, without importing it, which takes seconds; None without one."""
    torch = importlib.util.find_spec("torch")
    if torch is None or not torch.submodule_search_locations:
        return None
    said = runpy.run_path(str(Path(torch.submodule_search_locations[0], "version.py")))
    return Build(said["__version__"], said.get("cuda"), said.get("hip"))


def explain_unusable(gpu: Gpu, build: Build, *, reason: str = "") -> str:
    """Return why a build of torch cannot use a GPU and the commands that mend it, "" where it should be able to.

    Args:
        gpu: What is there.
        build: What is installed.
        reason: torch's own words, if it was asked for the GPU and refused.
    """
    driver = tuple(int(number) for number in gpu.driver.split(".") if number)
    index = next((index for least, index in _DRIVERS.values() if driver >= least), "cu126")
    install = (
        f"pip install --force-reinstall 'torch>=2.6' torchvision --index-url https://download.pytorch.org/whl/{index}"
    )
    least = _DRIVERS.get(int((build.cuda or "0").split(".")[0]), ((0,), ""))[0]
    named = f"an NVIDIA GPU{gpu.driver and f' (driver {gpu.driver})'}"
    if gpu.make == "NVIDIA" and build.cuda is None:
        problem = f"{named}, and torch {build.version} is built without CUDA; install one with it: {install}"
    elif gpu.make == "NVIDIA" and driver and driver < least:
        needed = ".".join(map(str, least))
        problem = f"{named}, and torch {build.version} needs driver {needed} or newer; update it, or: {install}"
    elif gpu.make and reason and (gpu.make == "NVIDIA" or build.hip):
        problem = f"a GPU of {gpu.make}, and torch {build.version} cannot use it: {reason}; `nvidia-smi` must list it"
    else:
        return ""
    return f"this machine has {problem}; DEVICE=cpu goes on on the CPU"


def require_usable(build: Build, *, reason: str = "") -> None:
    """Refuse a GPU that is there and cannot be used.

    Raises:
        GpuError: See `explain_unusable`.
    """
    if problem := explain_unusable(find_gpu(), build, reason=reason):
        raise GpuError(problem)
