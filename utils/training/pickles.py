"""Checkpoints with pickled objects: what they hold, found without running any code of it, and how to save the rest."""

import re
import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from torch.serialization import get_unsafe_globals_in_checkpoint

# What torch's messages begin with whatever the reason, and how that part ends.
_TORCHS_PREFACE = re.compile(
    r"Weights only load failed\..*(trusted source\.|following error message\.|use case:)( WeightsUnpickler error:)?"
)
_TORCHS_ADVICE = re.compile(
    r"\.? (Please use `torch\.serialization|Check the documentation|In PyTorch 2\.6, we changed).*"
)

# Saves the tensors of a checkpoint, of a whole network, or of either inside the other. It is for the user to run: the
# names are looked up in the loaded content, as a file's strings do not tell which of them are names of its entries.
_SAVE = (
    'import sys, torch; x = torch.load(sys.argv[1], map_location="cpu", weights_only=False); '
    "x = next((x[n] for n in {nestings} if isinstance(x.get(n), (dict, torch.nn.Module))), x) "
    "if isinstance(x, dict) else x; "
    "x = x if isinstance(x, dict) else x.state_dict(); "
    "torch.save({{n: v for n, v in x.items() if isinstance(v, (dict, torch.Tensor))}}, sys.argv[2])"
)


def torch_reason(error: Exception) -> str:
    """Give torch's reason for not reading a file, without its advice on how to read files of any kind."""
    text = _TORCHS_PREFACE.sub("", " ".join(str(error).split()))
    return _TORCHS_ADVICE.sub("", text).strip() or type(error).__name__


def describe_objects(path: Path, reason: str, *, nestings: Collection[str]) -> str | None:
    """Say which objects a file holds beside its weights and how to save its weights alone; None if it holds none.

    Args:
        path: The file that torch did not read.
        reason: torch's reason.
        nestings: Names under which the weights may be, the likeliest first.
    """
    types = re.findall(r"GLOBAL ([\w.]+)", reason)
    if not types:
        return None
    with suppress(ValueError, RuntimeError, OSError):  # it reads files of torch since 1.6 only
        types = sorted({*types, *get_unsafe_globals_in_checkpoint(path)})
    found = (
        f"{path}: holds {', '.join(types)} beside tensors and plain types. Reading such an object runs code that the "
        f"file chooses, so it is not read (torch: {reason})"
    )
    if "is blocked" in reason:  # by torch: of no use in a checkpoint, such as os.system
        return f"{found}. Do not open it with anything else either"
    names = ", ".join(f'"{name}"' for name in nestings)
    arguments = (_SAVE.format(nestings=f"({names})"), str(path), str(path.with_suffix(".weights.pth")))
    return (
        f"{found}. If you trust where it comes from, save its weights alone and name that file: "
        f"python -c {' '.join(map(shlex.quote, arguments))}"
    )
