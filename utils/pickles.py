"""What a checkpoint with pickled objects holds, found without running any code of it, and how to get its weights."""

import pickletools
import re
import shlex
import struct
import zipfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO

from torch.serialization import get_unsafe_globals_in_checkpoint

# What torch's messages begin with whatever the reason, and how that part ends.
_TORCHS_PREFACE = re.compile(
    r"Weights only load failed\..*(trusted source\.|following error message\.|use case:)( WeightsUnpickler error:)?"
)
# Pickles of a file of torch before 1.6: a magic number, its version, the machine's sizes, the content.
_OLD_PICKLES = 4

_SAVE = (
    "import sys, torch; whole = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
    "torch.save({}, sys.argv[2])"
)


def torch_reason(error: Exception) -> str:
    """Give torch's reason for not reading a file, without its advice on how to read files of any kind."""
    text = _TORCHS_PREFACE.sub("", " ".join(str(error).split()))
    for advice in (" Please use `torch.serialization", " Check the documentation", " In PyTorch 2.6, we changed"):
        text = text.partition(advice)[0]
    return text.strip() or type(error).__name__


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
    arguments = (_SAVE.format(_weights_of(path, nestings)), str(path), str(path.with_suffix(".weights.pth")))
    return (
        f"{found}. If you trust where it comes from, save its weights alone and name that file: "
        f"python -c {' '.join(map(shlex.quote, arguments))}"
    )


def _weights_of(path: Path, nestings: Collection[str]) -> str:
    """Write the Python expression that gives the weights of the content `whole`."""
    is_dictionary, strings = _scan(path)
    if not is_dictionary:
        return "whole.state_dict()"  # a whole network
    name = next((name for name in nestings if name in strings), None)
    if name is None:
        return "{name: value for name, value in whole.items() if torch.is_tensor(value)}"
    # A network's own attribute, seen where the weights are inside of a whole network.
    return f"whole[{name!r}]" + (".state_dict()" if "_parameters" in strings else "")


def _scan(path: Path) -> tuple[bool, set[str]]:
    """Return whether a file's content is a dictionary, and all strings in it; nothing of it is run."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as stream:
                return _scan_pickle(stream)
    with path.open("rb") as stream:
        found = (False, set[str]())
        with suppress(ValueError, struct.error):  # one pickle only: no file of torch
            for _ in range(_OLD_PICKLES):
                found = _scan_pickle(stream)
        return found


def _scan_pickle(stream: IO[bytes]) -> tuple[bool, set[str]]:
    kinds, strings = [], set()
    for operation, argument, _ in pickletools.genops(stream):
        kinds.append(f"{operation.name} {argument}" if operation.name == "GLOBAL" else operation.name)
        if isinstance(argument, str):
            strings.add(argument)
    return any(kind in ("EMPTY_DICT", "GLOBAL collections OrderedDict") for kind in kinds[1:2]), strings
