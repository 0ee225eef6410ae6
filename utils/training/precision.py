"""Mixed precision: the type of the forward pass, and the gradient scaling that fp16 needs."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from utils import distributed
from utils.config.network_names import PUBLISHED_WIDTH
from utils.errors import UserError

# Values of oneDNN's environment variable that limit its instruction set to one without bf16.
_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
_OTHERS = "use off, or auto, which then selects float32"
# A training step took 16 times as long as in float32 (docs/performance.md).
_EMULATED = "this processor has no bf16 instructions: it takes many times as long as float32; optimizer.amp=off or auto"


class PrecisionError(UserError):
    """The device does not support a precision."""


@dataclass(frozen=True)
class Precision:
    """The type of the forward pass.

    Attributes:
        dtype: Autocast type; None is float32.
        notice: Why bf16 is not used although the processor has it, or what speaks against the bf16 that was requested;
            empty otherwise.
    """

    dtype: torch.dtype | None
    notice: str = ""

    @property
    def name(self) -> str:
        """The type's name: float32, bfloat16, float16."""
        return precision_name(self.dtype)

    def __str__(self) -> str:
        """Describe it for a log line."""
        return f"{self.name} ({self.notice})" if self.notice else self.name


def resolve_precision(amp: str, device: torch.device, *, base_width: int, find_fault: Callable[[], str]) -> Precision:
    """Return the precision that `optimizer.amp` selects on a device, the same on every rank.

    On a CPU, auto is float32 for networks below the published width. At 64 channels a step in bf16 is 1.6 to 2.1 times
    as fast; at 24 it is 1.23 times as fast on one thread, 0.68 on two (docs/performance.md). Widths between them were
    not measured.

    Args:
        amp: auto, bf16, fp16 or off.
        device: Device of the network.
        base_width: Its `network.base_width`, channels.
        find_fault: Returns what the CPU computes incorrectly in bf16, "" if nothing; called only if bf16 may be used.

    Raises:
        PrecisionError: fp16 on a CPU, bf16 on a GPU without it, or bf16 on a CPU that computes incorrectly in it.
    """
    on_gpu = device.type == "cuda"
    if amp == "fp16" and not on_gpu:
        raise PrecisionError("optimizer.amp: fp16 needs a GPU; use bf16, off or auto on a CPU")
    if amp == "bf16" and on_gpu and not has_bf16(device):
        raise PrecisionError("optimizer.amp: this GPU has no bf16; use fp16, off or auto")
    if amp in ("off", "fp16"):
        return Precision(torch.float16 if amp == "fp16" else None)
    if on_gpu:
        return Precision(torch.bfloat16 if has_bf16(device) else None)
    has_instructions = has_bf16(device)
    if amp == "auto" and base_width < PUBLISHED_WIDTH:
        narrow = f"network.base_width {base_width} is below {PUBLISHED_WIDTH}"
        return Precision(None, f"{narrow}: bf16 would save little time" if has_instructions else "")
    fault = find_fault() if has_instructions or amp == "bf16" else ""
    everywhere = distributed.gather_objects((has_instructions, fault))  # nodes may have other processors
    fault = next((found for _, found in everywhere if found), "")
    if amp == "bf16" and fault:
        raise PrecisionError(f"optimizer.amp: this processor and torch compute bf16 incorrectly ({fault}); {_OTHERS}")
    if fault:
        return Precision(None, f"this processor and torch compute bf16 incorrectly: {fault}")
    if all(has for has, _ in everywhere):
        return Precision(torch.bfloat16)
    return Precision(None) if amp == "auto" else Precision(torch.bfloat16, _EMULATED)


def precision_name(dtype: torch.dtype | None) -> str:
    """Return the name of an autocast type in logs and results, e.g. "bfloat16"; None is "float32"."""
    return "float32" if dtype is None else str(dtype).removeprefix("torch.")


def has_bf16(device: torch.device) -> bool:
    """Return whether a device has bf16 instructions; emulated bf16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.upper() in _WITHOUT_BF16:
        return False
    found: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # absent before torch 2.10
    return bool(found.get("avx512_bf16") or found.get("bf16"))  # x86, ARM


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    """Return the autocast context of a forward pass; a null context for None, which is float32."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def make_scaler(device: torch.device, dtype: torch.dtype | None) -> torch.amp.GradScaler:
    """Return the gradient scaler: active for fp16, a pass-through otherwise."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
