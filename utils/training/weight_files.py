"""Read weight files of this project and of others: find the network's tensors and their names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from utils.config import RunConfig
from utils.config.saved import clip_differences, require_normalization
from utils.training.checkpoint import CLASS_NAMES, NESTINGS, CheckpointError, load_tensors
from utils.training.run_folder import require_own_weights

# Prefixes that wrappers add to every name: DistributedDataParallel, torch.compile, modules that contain the network.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")

# Entries of a file that an error lists.
_SHOWN = 8


@dataclass(frozen=True)
class WeightFile:
    """Content of a weight file; files of other projects have tensors only.

    Attributes:
        tensors: Tensors of the network by name.
        class_names: Class i is called class_names[i]; empty if the file has no names.
        differences: 'section.key: was X, is Y' for every setting of its training clips that differs from the record's
            evaluation.
    """

    tensors: dict[str, torch.Tensor]
    class_names: tuple[str, ...]
    differences: tuple[str, ...]


def read_weight_file(config: RunConfig, path: Path) -> WeightFile:
    """Read a weight file that fits the record's normalization.

    Raises:
        CheckpointError: The file cannot be read, or has no weights under a known entry.
        ConfigError: The weights were trained with another normalization, or are in the record's folder but of another
            run.
    """
    content = load_tensors(path)
    require_normalization(content, config, path=path)
    require_own_weights(content, config, path=path)
    named = content.get(CLASS_NAMES)
    if not isinstance(named, list) or len(named) != config.dataset.num_classes:
        named = []
    return WeightFile(
        tensors=network_weights(content, path),
        class_names=tuple(map(str, named)),
        differences=tuple(clip_differences(content, config)),
    )


def network_weights(content: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Return the network's tensors in a checkpoint of this or another project (`NESTINGS`) or in a bare state dict.

    A checkpoint with an average of the weights (optimizer.ema) gives the average. All prefixes of wrappers are removed;
    values that are not tensors are ignored.

    Raises:
        CheckpointError: There are no tensors, or two names differ only in prefixes of wrappers.
    """
    place = []
    while nested := [name for name in NESTINGS if _holds_tensors(content.get(name))]:
        place.append(nested[0])
        content = content[nested[0]]
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path}: no weights at {'.'.join(place) or 'the top'}: found {_listing(content)}; expected tensors at the "
            f"top or in {', '.join(NESTINGS)}: save them there, e.g. torch.save({{'state_dict': weights}}, file)"
        )
    weights: dict[str, torch.Tensor] = {}
    origins: dict[str, str] = {}
    for name, tensor in tensors.items():
        bare = _without_prefixes(name)
        if bare in weights:
            both = f"{origins[bare]} and {name} are both {bare}"
            raise CheckpointError(f"{path}: {both} without the prefixes of wrappers; keep one")
        weights[bare], origins[bare] = tensor, name
    return weights


def _holds_tensors(value: object) -> bool:
    return isinstance(value, dict) and any(
        isinstance(inner, torch.Tensor) or _holds_tensors(inner) for inner in value.values()
    )


def _without_prefixes(name: str) -> str:
    # torch.compile of a submodule puts its prefix in the middle of a name.
    name = name.replace("._orig_mod.", ".")
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _listing(content: Mapping[str, Any]) -> str:
    """Return the names and types of the first entries, e.g. 'encoder (dictionary of 120), epoch (int)'."""
    entries = [
        f"{name} ({f'dictionary of {len(value)}' if isinstance(value, dict) else type(value).__name__})"
        for name, value in content.items()
    ]
    shown = ", ".join(entries[:_SHOWN]) + (f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else "")
    return shown or "nothing"
