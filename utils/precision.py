"""Mixed precision that is really on: which type the forward pass uses, and the scaling that fp16 needs."""

import contextlib
from collections.abc import Mapping
from typing import Any

import torch

from utils.errors import UserError


class PrecisionError(UserError):
    """A precision this device does not have."""


def resolve_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """Return the autocast type for `optimizer.amp` on a device; None is full float32.

    Raises:
        PrecisionError: fp16 on a CPU, or bf16 on a GPU without it.
    """
    on_gpu = device.type == "cuda"
    if amp == "auto":
        return torch.bfloat16 if has_bf16(device) else None
    if amp == "bf16" and on_gpu and not has_bf16(device):
        raise PrecisionError("optimizer.amp: this GPU has no bf16; use fp16, off or auto")
    if amp == "fp16" and not on_gpu:
        raise PrecisionError("optimizer.amp: fp16 needs a GPU; use bf16, off or auto on a CPU")
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}[amp]


def has_bf16(device: torch.device) -> bool:
    """Return whether a device has bf16 instructions; without them bf16 is emulated, which takes longer than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.10 does not say
    return bool(found.get("avx512_bf16") or found.get("bf16"))  # x86, ARM


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    """Return the context of a forward pass in the given type (None: float32)."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def make_scaler(device: torch.device, dtype: torch.dtype | None) -> torch.amp.GradScaler:
    """Return the gradient scaler: active for fp16, a pass-through otherwise."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
