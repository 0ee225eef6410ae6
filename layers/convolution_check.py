"""Check the convolutions of this processor: outputs and gradients against float64, in memory filled with 1e30 before.

  python -m layers.convolution_check

prints the first form that is wrong in bf16 and exits with 1, or prints nothing and exits with 0. It runs in a process
of its own, since a wrong form may write beyond its buffers and crash the process; the result is cached in the user's
cache folder, for each version of torch and processor.
"""

import contextlib
import functools
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from layers.channels_last import FORMATS
from layers.convolutions import Conv2d, Conv3d
from utils.errors import UserError
from utils.sealed import SealError, read_sealed_json, write_sealed_json
from utils.text import say

# Largest allowed error relative to the largest float64 value. bf16 has 8 bits: it rounds by 4e-3; float32 has 24.
LIMITS = {torch.bfloat16: 0.03, torch.float32: 1e-3}
# Sizes, in float32 numbers, of blocks filled and freed before every convolution: they reveal what a kernel leaves
# unwritten.
_POISONED = [1 << power for power in range(5, 17) for _ in range(3)]
_TIMEOUT = 300  # seconds
_CPU = torch.device("cpu")
_ROOT = Path(__file__).resolve().parent.parent
# Environment variables that, like the processor, affect which kernels oneDNN and torch choose.
_ENVIRONMENT = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


@dataclass(frozen=True)
class Form:
    """A convolution and the size of its input.

    Attributes:
        kernel, stride, padding: Of the convolution: (height, width) or (time, height, width).
        size: Size of the input map, one number per axis of the kernel.
        groups: Groups of the convolution.
        channels: Channels of the input.
        out_channels: Channels of the output.
        channels_last: Whether map and weight have the channels-last memory format.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    size: tuple[int, ...]
    groups: int = 1
    channels: int = 8
    out_channels: int = 16
    channels_last: bool = False

    def __str__(self) -> str:
        """Describe the form in one line."""
        kernel, stride, size = ("x".join(map(str, numbers)) for numbers in (self.kernel, self.stride, self.size))
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        memory = "channels last" if self.channels_last else "contiguous"
        return f"{kernel} stride {stride}{groups} over {self.channels} x {size}, {memory}"


def largest_error(form: Form, dtype: torch.dtype, *, device: torch.device = _CPU) -> float:
    """Return the largest error against float64 of output, input gradient and weight gradient.

    Args:
        form: The convolution and its input.
        dtype: The type that is checked.
        device: The device that is checked; float64 is computed on the CPU.

    Returns:
        The largest difference of each tensor over its largest absolute value, maximum of the three; inf for NaN.
    """
    generator = torch.Generator().manual_seed(0)
    conv_class = Conv2d if len(form.kernel) == 2 else Conv3d
    conv = conv_class(
        form.channels,
        form.out_channels,
        form.kernel,  # type: ignore[arg-type]
        stride=form.stride,  # type: ignore[arg-type]
        padding=form.padding,  # type: ignore[arg-type]
        groups=form.groups,
        bias=False,
    )
    x = torch.randn(2, form.channels, *form.size, generator=generator)
    weight = torch.randn(conv.weight.shape, generator=generator) * 0.1
    x, weight = x.to(dtype), weight.to(dtype)  # float64 starts from the same rounded values
    with torch.no_grad():
        shape = conv.to(dtype)(x).shape
    direction = torch.randn(shape, generator=generator).to(dtype)
    expected = _differentiate(conv, x.double(), weight.double(), direction.double(), torch.contiguous_format)
    _poison_memory(device)
    memory_format = FORMATS[x.dim()] if form.channels_last else torch.contiguous_format
    found = _differentiate(conv, x.to(device), weight.to(device), direction.to(device), memory_format)
    errors = [
        ((ours.cpu().double() - exact).abs().max() / exact.abs().max().clamp_min(1e-9)).item()
        for ours, exact in zip(found, expected, strict=True)
    ]
    return max(error if error == error else float("inf") for error in errors)


def _differentiate(
    conv: Conv2d | Conv3d, x: Tensor, weight: Tensor, direction: Tensor, memory_format: torch.memory_format
) -> list[Tensor]:
    """Return the output and the gradients of input and weight; `direction` is the gradient of the output."""
    conv.weight = torch.nn.Parameter(weight.clone(memory_format=memory_format))
    x = x.clone(memory_format=memory_format).requires_grad_()
    out = conv(x)
    out.backward(direction)
    assert x.grad is not None and conv.weight.grad is not None
    return [out.detach(), x.grad, conv.weight.grad]


def _poison_memory(device: torch.device = _CPU) -> None:
    """Fill memory that the next allocations reuse with 1e30."""
    blocks = [torch.full((count,), 1e30, device=device) for count in _POISONED]
    del blocks


def bf16_forms() -> Iterable[Form]:
    """Yield the forms that were wrong in bf16 with torch's own padding, and a few common ones."""
    for last in (False, True):
        for frames in (1, 2, 3, 4, 8):
            for groups in (1, 8):
                yield Form((3, 1, 1), (1, 1, 1), (1, 0, 0), (frames, 4, 4), groups=groups, channels_last=last)
            yield Form((3, 1, 1), (1, 2, 2), (1, 0, 0), (frames, 4, 4), channels=64, channels_last=last)
            yield Form((3, 3, 3), (1, 1, 1), (1, 1, 1), (frames, 3, 3), channels_last=last)
            yield Form((3, 3, 3), (2, 2, 2), (1, 1, 1), (frames, 1, 1), channels_last=last)
            yield Form((7, 1, 1), (2, 1, 1), (3, 0, 0), (frames, 2, 2), channels_last=last)
            yield Form((1, 3, 3), (1, 2, 2), (0, 1, 1), (frames, 1, 1), channels_last=last)
            yield Form((1, 7, 7), (1, 2, 2), (0, 3, 3), (frames, 2, 2), channels=3, channels_last=last)
            yield Form((1, 3, 3), (1, 1, 1), (0, 1, 1), (frames, 7, 7), channels=64, channels_last=last)
        for _ in range(20):  # wrong once in a few hundred times
            yield Form((1, 1), (2, 2), (0, 0), (1, 1), out_channels=64, channels_last=last)
        for side in (1, 2, 7):
            yield Form((3, 3), (2, 2), (1, 1), (side, side), channels_last=last)
            yield Form((7, 7), (2, 2), (3, 3), (side, side), channels=3, channels_last=last)
            yield Form((3, 1), (1, 1), (1, 0), (2, side), groups=8, channels_last=last)


def find_bf16_fault() -> str:
    """Return the first form that is wrong in bf16 on this processor and its error; "" if all are right."""
    for form in bf16_forms():
        error = largest_error(form, torch.bfloat16)
        if error > LIMITS[torch.bfloat16]:
            return f"{form}: {error:.2g} from float64"
    return ""


@functools.cache
def cached_bf16_fault() -> str:
    """Return the cached result of `find_bf16_fault`, or run it in a process of its own and cache the result.

    If the cache folder cannot be read or written, the check is run every time, which takes two seconds.
    """
    folder = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    key, cache = _describe_kernels(), None
    with contextlib.suppress(RuntimeError):  # the user has no home folder
        cache = Path(folder).expanduser() / "optimization-planning" / "bf16.json"
    known = _read_cache(cache) if cache else {}
    if key not in known:
        known[key] = _check_in_subprocess()
        if cache:
            with contextlib.suppress(UserError):  # a read-only folder
                write_sealed_json(cache, known)
    return known[key]


def _read_cache(path: Path) -> dict[str, str]:
    with contextlib.suppress(SealError):  # missing or corrupt
        return read_sealed_json(path)
    return {}


def _describe_kernels() -> str:
    """Return the cache key: torch, processor, limits on its instructions, and a hash of the code of the check."""
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in ("convolutions.py", "convolution_check.py"))
    limits = [f"{name}={os.environ[name]}" for name in _ENVIRONMENT if name in os.environ]
    digest = hashlib.sha256(repr(sorted(capabilities.items())).encode() + code).hexdigest()[:16]
    return " ".join([f"torch {torch.__version__}", str(capabilities.get("cpu_name", "CPU")), *limits, digest])


def _check_in_subprocess() -> str:
    """Run this module as a script; return the fault, "" if there is none."""
    command = [sys.executable, "-m", "layers.convolution_check"]
    try:
        ended = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"its check did not end within {_TIMEOUT} s"
    if ended.returncode == 0:
        return ""
    return ended.stdout.strip() or f"its check ended with {ended.returncode}: {ended.stderr.strip()[-200:]}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    fault = find_bf16_fault()
    say(fault)
    sys.exit(1 if fault else 0)
