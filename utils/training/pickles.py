"""Describe checkpoints that contain pickled objects, without running their code, and how to save their weights."""

import re
import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from torch.serialization import get_unsafe_globals_in_checkpoint

# The generic beginning of torch's messages, before the reason.
_TORCHS_PREFACE = re.compile(
    r"Weights only load failed\..*(trusted source\.|following error message\.|use case:)( WeightsUnpickler error:)?"
)
_TORCHS_ADVICE = re.compile(
    r"\.? (Please use `torch\.serialization|Check the documentation|In PyTorch 2\.6, we changed).*"
)

# A command for the user: save the tensors of a checkpoint, of a pickled network, or of either nested in the other. It
# looks the names up in the loaded content, because the strings in a pickle do not tell which are names of entries.
_SAVE = (
    'import sys, torch; x = torch.load(sys.argv[1], map_location="cpu", weights_only=False); '
    "x = next((x[n] for n in {nestings} if isinstance(x.get(n), (dict, torch.nn.Module))), x) "
    "if isinstance(x, dict) else x; "
    "x = x if isinstance(x, dict) else x.state_dict(); "
    "torch.save({{n: v for n, v in x.items() if isinstance(v, (dict, torch.Tensor))}}, sys.argv[2])"
)


def torch_reason(error: Exception) -> str:
    """Return torch's reason for rejecting a file, without its generic advice."""
    text = _TORCHS_PREFACE.sub("", " ".join(str(error).split()))
    return _TORCHS_ADVICE.sub("", text).strip() or type(error).__name__


def describe_objects(path: Path, reason: str, *, nestings: Collection[str]) -> str | None:
    """Return which objects a file holds beside its weights and how to save the weights alone; None if it holds none.

    Args:
        path: The file that torch rejected.
        reason: torch's reason.
        nestings: Names of entries that may hold the weights, the likeliest first.
    """
    types = re.findall(r"GLOBAL ([\w.]+)", reason)
    if not types:
        return None
    with suppress(ValueError, RuntimeError, OSError):  # it reads only files of torch 1.6 and newer
        types = sorted({*types, *get_unsafe_globals_in_checkpoint(path)})
    found = (
        f"{path}: holds {', '.join(types)} beside tensors and plain types. Reading such an object runs code that the "
        f"file chooses, so it is not read (torch: {reason})"
    )
    if "is blocked" in reason:  # torch blocks functions that no checkpoint needs, such as os.system
        return f"{found}. Do not open it with anything else either"
    names = ", ".join(f'"{name}"' for name in nestings)
    arguments = (_SAVE.format(nestings=f"({names})"), str(path), str(path.with_suffix(".weights.pth")))
    return (
        f"{found}. If you trust where it comes from, save its weights alone and name that file: "
        f"python -c {' '.join(map(shlex.quote, arguments))}"
    )
