"""Checkpoints: tensors and plain types only, written atomically.

A checkpoint holds everything that a bit-equal resume needs: network, optimizer, gradient scaler, position (state,
epoch, step) and the effective configuration. Random states are not stored, because no generator lives across steps:
clips are seeded by (seed, state, epoch, video) and dropout by (seed, state, epoch, step, rank), for any number of
loader workers and processes.
"""

import pickle
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch

from utils.errors import UserError
from utils.files import ZIP_ERRORS, find_zip_damage, write_atomically
from utils.training.pickles import describe_objects, torch_reason

FORMAT = 1
NUMBERED_PATTERN = "state*_epoch*.pth"  # checkpoints kept beside current.pth
_ZIP_BEGIN = b"PK\x03\x04"
CLASS_NAMES = "class_names"  # the entry of the class names, a list in the order of the logits

# Entries under which checkpoints hold the network's weights; the first one present counts. "average" and "network" are
# this project's, "state_dict_ema" and "state_dict" timm's, "model_state" PySlowFast's, "model" torchvision's and
# DeiT's. Averages come first: they are what was evaluated.
NESTINGS = ("average", "network", "state_dict_ema", "state_dict", "model_state_dict", "model_state", "model", "net")


class CheckpointError(UserError):
    """A checkpoint cannot be written or read."""

    on_every_rank = False


@dataclass(frozen=True)
class Position:
    """A position in training; everything before it is complete.

    Attributes:
        state: Index of the state, from 0.
        epoch: Complete epochs of that state.
        step: Complete optimizer steps of the next epoch.
    """

    state: int = 0
    epoch: int = 0
    step: int = 0

    def next_epoch(self) -> "Position":
        """Return the position after the current epoch."""
        return replace(self, epoch=self.epoch + 1, step=0)

    def next_state(self) -> "Position":
        """Return the position at the start of the next state."""
        return Position(state=self.state + 1)


def save_checkpoint(path: Path, content: dict[str, Any], *, position: Position) -> None:
    """Write a checkpoint atomically.

    Args:
        path: The file; an earlier checkpoint under this name is replaced.
        content: Entries beside the format and the position.
        position: Position of the checkpoint.

    Raises:
        FileError, CheckpointError: The file cannot be written (full or read-only disk); an earlier checkpoint under
            this name is untouched.
    """
    entries = {"format": FORMAT, "position": asdict(position), **content}
    try:
        write_atomically(path, lambda file: torch.save(entries, file))
    except RuntimeError as error:  # torch's own report of a failed write
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{path}: the checkpoint cannot be written ({reason}); is the disk full? An earlier one is untouched"
        ) from None


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a torch or safetensors file of tensors and plain types to the CPU, without running any code in it.

    Raises:
        CheckpointError: The file is missing, corrupt or truncated, holds other types, or is a safetensors file and the
            package is not installed.
    """
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore", UserWarning)  # torch warns about files that it then refuses
            _verify_checksums(file, path)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except CheckpointError:
        raise
    except (*ZIP_ERRORS, pickle.UnpicklingError) as error:
        reason = torch_reason(error)
        objects = describe_objects(path, reason, nestings=NESTINGS)
        raise CheckpointError(
            objects or f"{path}: not a readable checkpoint (truncated, or not of tensors alone): {reason}"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors")
    return content


def _verify_checksums(file: IO[bytes], path: Path) -> None:
    """Verify the zip checksums, which torch writes but does not verify; files of the older format have none."""
    is_zip = file.read(len(_ZIP_BEGIN)) == _ZIP_BEGIN  # torch's own test
    if is_zip and (damage := find_zip_damage(file)):
        raise CheckpointError(
            f"{path}: not a readable checkpoint, corrupt or truncated ({damage}); {_recovery_hint(path)}"
        )
    file.seek(0)


def _recovery_hint(path: Path) -> str:
    """Return what to do about a corrupt checkpoint: name the newest intact one of the run, if there is one."""
    for other in sorted(path.parent.glob(NUMBERED_PATTERN), key=lambda one: one.stat().st_mtime, reverse=True):
        if other != path:
            with other.open("rb") as file:
                if not find_zip_damage(file):
                    return f"the newest intact one of this run is {other}: copy it to {path} to resume from there"
    return "restore it from a copy, or create or download it again"


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        # An optional dependency: only users of such files need it.
        import safetensors.torch
    except ImportError:
        raise CheckpointError(f"{path}: reading it needs the package safetensors: pip install safetensors") from None
    try:
        return dict(safetensors.torch.load_file(path, device="cpu"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file (truncated?): {error}") from None


def load_checkpoint(path: Path) -> tuple[dict[str, Any], Position]:
    """Read a checkpoint written by `save_checkpoint`; return its content and position.

    Raises:
        CheckpointError: The file cannot be read or is not such a checkpoint.
    """
    content = load_tensors(path)
    if content.get("format") != FORMAT or "position" not in content:
        raise CheckpointError(f"{path}: not a training checkpoint of this project (format {content.get('format')!r})")
    return content, Position(**content["position"])
