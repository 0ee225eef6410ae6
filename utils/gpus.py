"""Find GPUs and explain why torch cannot use them, so that nothing runs on the CPU by accident. No torch."""

import importlib.util
import os
import re
import runpy
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError

_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
# Device files of NVIDIA's drivers; the last three patterns are those of embedded boards.
_NVIDIA_FILES = ("dev/nvidia[0-9]*", "dev/nvhost*", "dev/nvmap", "dev/nvgpu*")
# CUDA's major version: the oldest Linux driver that supports it, and the name of torch's wheel index
# (docs.nvidia.com/deploy/cuda-compatibility, "minor version compatibility").
_DRIVERS = {13: ((580,), "cu130"), 12: ((525, 60), "cu126"), 11: ((450, 80), "cu118")}


class GpuError(UserError):
    """The machine has a GPU that cannot be used."""


@dataclass(frozen=True)
class Gpu:
    """A visible GPU.

    Attributes:
        vendor: "NVIDIA" or "AMD"; "": there is none.
        driver: Version of the driver; "": unknown.
    """

    vendor: str = ""
    driver: str = ""


@dataclass(frozen=True)
class Build:
    """The installed build of torch.

    Attributes:
        version: Version of torch.
        cuda: CUDA version of the build; None: built without.
        hip: HIP version of the build; None: built without.
    """

    version: str
    cuda: str | None
    hip: str | None


def hide_gpus_on_request(environment: MutableMapping[str, str]) -> None:
    """Hide all GPUs from torch if DEVICE=cpu; must run before torch's first use of a GPU.

    Raises:
        GpuError: DEVICE is anything but empty or cpu.
    """
    device = environment.get("DEVICE", "")
    if device not in ("", "cpu"):
        raise GpuError(f"DEVICE={device}: expected cpu, or nothing: a GPU is used if there is one")
    if device:
        environment.update(dict.fromkeys(_HIDING, ""))


def find_gpu(environment: Mapping[str, str] = os.environ, *, root: Path = Path("/")) -> Gpu:
    """Return the GPU whose driver has device files below `root`, if it is not hidden by the environment."""
    if any(environment.get(name) in ("", "-1") for name in _HIDING):
        return Gpu()
    is_windows_guest = (root / "dev/dxg").exists() and (root / "usr/lib/wsl/lib/nvidia-smi").exists()
    if is_windows_guest or any(file for pattern in _NVIDIA_FILES for file in root.glob(pattern)):
        version = root / "proc/driver/nvidia/version"
        found = re.search(r"Module.*?\s(\d+(?:\.\d+)+)\s", version.read_text()) if version.exists() else None
        return Gpu("NVIDIA", found[1] if found else "")
    return Gpu("AMD") if (root / "dev/kfd").exists() else Gpu()


def read_build() -> Build | None:
    """Return the installed build of torch without importing it, which takes seconds; None if there is none."""
    torch = importlib.util.find_spec("torch")
    if torch is None or not torch.submodule_search_locations:
        return None
    values = runpy.run_path(str(Path(torch.submodule_search_locations[0], "version.py")))
    return Build(values["__version__"], values.get("cuda"), values.get("hip"))


def explain_unusable(gpu: Gpu, build: Build, *, reason: str = "") -> str:
    """Return why a build of torch cannot use a GPU and what to do; "" if there is no known reason.

    Args:
        gpu: The GPU of the machine.
        build: The installed build of torch.
        reason: torch's reason for not using the GPU; "" if torch was not asked.
    """
    driver = tuple(int(number) for number in gpu.driver.split(".") if number)
    index = next((index for least, index in _DRIVERS.values() if driver >= least), "cu126")
    install = (
        f"pip install --force-reinstall 'torch>=2.6' torchvision --index-url https://download.pytorch.org/whl/{index}"
    )
    least = _DRIVERS.get(int((build.cuda or "0").split(".")[0]), ((0,), ""))[0]
    named = f"an NVIDIA GPU{gpu.driver and f' (driver {gpu.driver})'}"
    if gpu.vendor == "NVIDIA" and build.cuda is None:
        problem = f"{named}, and torch {build.version} is built without CUDA; install one with it: {install}"
    elif gpu.vendor == "NVIDIA" and driver and driver < least:
        needed = ".".join(map(str, least))
        problem = f"{named}, and torch {build.version} needs driver {needed} or newer; update it, or: {install}"
    elif gpu.vendor and reason and (gpu.vendor == "NVIDIA" or build.hip):
        problem = f"a GPU of {gpu.vendor}, and torch {build.version} cannot use it: {reason}; `nvidia-smi` must list it"
    else:
        return ""
    return f"this machine has {problem}; set DEVICE=cpu to run on the CPU"


def require_usable(build: Build, *, reason: str = "") -> None:
    """Raise an error if the machine has a GPU that torch cannot use.

    Raises:
        GpuError: It has; the message is that of `explain_unusable`.
    """
    if problem := explain_unusable(find_gpu(), build, reason=reason):
        raise GpuError(problem)
