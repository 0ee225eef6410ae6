"""Weight files of this project and of others: where the network's tensors are in them, and under which names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from utils.config import RunConfig
from utils.config.saved import clip_differences, require_normalization
from utils.training.checkpoint import CLASS_NAMES, NESTINGS, CheckpointError, load_tensors
from utils.training.run_folder import require_own_weights

# What wrappers put in front of every name: DistributedDataParallel, torch.compile, and modules that hold the network.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")

# How many entries of a file an error shows.
_SHOWN = 8


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds for whoever uses them; other projects' files and bare ones hold tensors only.

    Attributes:
        tensors: Of the network, by name.
        class_names: Class i is called class_names[i]; empty where the file does not say.
        differences: 'section.key: was X, is Y' for the settings with which its clips were cut otherwise than the
            record's evaluation does.
    """

    tensors: dict[str, torch.Tensor]
    class_names: tuple[str, ...]
    differences: tuple[str, ...]


def read_weight_file(config: RunConfig, path: Path) -> WeightFile:
    """Read a file of weights that fits the record's normalisation.

    Raises:
        CheckpointError: The file cannot be read, or holds no weights where they are looked for.
        ConfigError: The weights were trained on clips that were normalised otherwise, or are in the record's folder
            although another run has trained them.
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
    """Return the network's tensors of this project's checkpoints, others' (`NESTINGS`) or a bare file.

    Of a checkpoint with an average of the weights (optimizer.ema) it is the average. Prefixes of wrappers are left out,
    also several behind one another; values that are no tensors are no weights.

    Raises:
        CheckpointError: There are no tensors, or two of them differ in wrappers' prefixes only.
    """
    place = []
    while nested := [name for name in NESTINGS if _holds_tensors(content.get(name))]:
        place.append(nested[0])
        content = content[nested[0]]
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path}: no weights at {'.'.join(place) or 'the top'}: it holds {_listing(content)}; weights are looked "
            f"for at the top and in {', '.join(NESTINGS)}: save them there, e.g. torch.save({{'state_dict': weights}}, "
            "file)"
        )
    weights: dict[str, torch.Tensor] = {}
    origins: dict[str, str] = {}
    for name, tensor in tensors.items():
        bare = _without_prefixes(name)
        if bare in weights:
            both = f"{origins[bare]} and {name} are both {bare}"
            raise CheckpointError(f"{path}: {both} without their wrappers' names; keep one")
        weights[bare], origins[bare] = tensor, name
    return weights


def _holds_tensors(value: object) -> bool:
    return isinstance(value, dict) and any(
        isinstance(inner, torch.Tensor) or _holds_tensors(inner) for inner in value.values()
    )


def _without_prefixes(name: str) -> str:
    # torch.compile of a part of a network puts its name in the middle.
    name = name.replace("._orig_mod.", ".")
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _listing(content: Mapping[str, Any]) -> str:
    """Name the first entries and what they are, e.g. 'encoder (dictionary of 120), epoch (int)'."""
    entries = [
        f"{name} ({f'dictionary of {len(value)}' if isinstance(value, dict) else type(value).__name__})"
        for name, value in content.items()
    ]
    shown = ", ".join(entries[:_SHOWN]) + (f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else "")
    return shown or "nothing"
