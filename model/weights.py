"""Weights into networks, under this project's or other names, 2D networks' weights into 3D ones, and weights out.

  python -m model.weights export --config_file record/X.yml [--output weights.pth] [section.key=value ...]
  python -m model.weights list ['*resnet50*']
  python -m model.weights fetch NAME [--output pretrained_weights] [--mirror URL]

"export" writes what a record has trained (or network.eva_model=FILE) under the names of the paper's released code, by
default to output/X/released.pth. Those networks and ours load the file; so do network.eva_model and
network.pretrained_model. "list" names the public files that load here (docs/weights.md); "fetch" downloads one of them,
goes on where it was stopped, and compares its SHA-256 with the digits in its name.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from layers.units import Inflatable
from model.network import VideoNetwork
from utils.cli import run_script
from utils.errors import UserError

# How many names an error shows of each kind of misfit.
_SHOWN = 3

# Batch norm counts its batches in this entry; old files lack it and no network here depends on it.
_COUNTER = "num_batches_tracked"

# Under which names a file may hold each entry of this project's state dict.
Names = dict[str, tuple[str, ...]]


class WeightsError(UserError):
    """A state dict does not fit the network; the message counts the mismatches and names some of them."""


def load_weights(
    network: VideoNetwork,
    state_dict: Mapping[str, Tensor],
    *,
    missing: Iterable[str] = (),
    source: Path | None = None,
) -> None:
    """Load weights, all of them or none, under this project's names, the released code's or a public file's.

    torchvision's names are those of its networks of images, which the frame networks `resnet*`, `eftnet_*` and `vit_*`
    take as they are, and for `torchvision/*` those of its video networks. EfficientNets take files of
    EfficientNet-PyTorch, transformers those of timm and DeiT. A file of the released S3D holds every layer
    twice; one of the two is enough, and where they differ the second name counts, as in the released code. Position
    embeddings for another image size are resized.

    Args:
        network: Takes the weights.
        state_dict: Name -> tensor. Batch norm's `num_batches_tracked` may be absent.
        missing: Modules, by dotted name, whose weights `state_dict` may lack, e.g. ("fc",); those keep their values.
        source: Where the weights come from, for the error.

    Raises:
        WeightsError: The network has weights that `state_dict` lacks, or the other way round, or a shape differs.
    """
    own = network.state_dict()
    names = _choose_naming(_namings(network, own), state_dict)
    prefixes = tuple(f"{module}." for module in missing)
    found, given = _look_up(network, names, state_dict)
    optional = {names[name][0] for name in own if name.startswith(prefixes)}
    mismatches = _compare({names[name][0]: tensor.shape for name, tensor in own.items()}, given, optional=optional)
    _require_match(mismatches, source=source, classifiers=_classifier_prefixes(network))
    network.load_state_dict(found, strict=False)


def inflate(network: VideoNetwork, state_dict: Mapping[str, Tensor], *, source: Path | None = None) -> None:
    """Transfer a 2D network's weights into the network that extends it, all of them or none.

    Modules that stand for a 2D kernel make theirs from it (`layers.units`); norms and what is the same in both are
    taken over. Classifiers and what a 2D network has nothing for (the fully connected layers of LGD and DG, the gates
    of S3D-G) keep their values; a second last stage takes the same weights as the first. S3D extends no published
    network: it takes weights of images under its own names.

    Args:
        network: Takes the weights.
        state_dict: The 2D network's weights under the released code's, torchvision's or other public names; its
            classifier is ignored.
        source: Where the weights come from, for the error.

    Raises:
        WeightsError: A layer is missing, unknown to the network or of another shape.
        UserError: The network extends no 2D network.
    """
    modules = {path: module for path, module in network.named_modules() if isinstance(module, Inflatable)}
    makers = {f"{path}.{module.kernel_name}": (path, module) for path, module in modules.items()}
    made = {f"{path}.temporal.weight" for path in modules}
    own = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name not in made
        and not name.startswith(tuple(f"{classifier}." for classifier in network.classifier_names))
        and not re.search(network.without_source, network.released_name(name))
    }
    sources = {name: network.source_name(name) for name in own}
    released: Names = {name: (first, *network.released_names(name)[1:]) for name, first in sources.items()}
    names = _choose_naming([released, *_public_namings(network, sources)], state_dict)
    found, given = _look_up(network, names, without_classifiers(network, state_dict))
    shapes = {name: makers[name][1].shape_2d if name in makers else _shape_2d(tensor) for name, tensor in own.items()}
    _require_match(_compare({names[name][0]: shape for name, shape in shapes.items()}, given), source=source)
    weights = {name: tensor.reshape(own[name].shape) for name, tensor in found.items() if name not in makers}
    for name, (path, module) in makers.items():
        weights |= {f"{path}.{part}": tensor for part, tensor in module.inflated(found[name]).items()}
    network.load_state_dict(weights, strict=False)


def export_weights(network: VideoNetwork) -> dict[str, Tensor]:
    """Give the weights under the released code's names: `load_weights` of them makes an equal network.

    torchvision's video networks have torchvision's names.
    """
    return {
        released: tensor.detach().cpu()
        for name, tensor in network.state_dict().items()
        for released in network.released_names(name)
    }


def without_classifiers(network: VideoNetwork, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave the classifiers out of a state dict of any names that `load_weights` takes."""
    prefixes = _classifier_prefixes(network)
    return {key: tensor for key, tensor in state_dict.items() if not key.startswith(prefixes)}


def _classifier_prefixes(network: VideoNetwork) -> tuple[str, ...]:
    """Give what the names of classifiers' entries begin with in any file, with the dot."""
    weights = [f"{classifier}.weight" for classifier in network.classifier_names]
    names = {key for naming in _namings(network, weights) for keys in naming.values() for key in keys}
    return tuple({name.removesuffix("weight") for name in names} | {f"{extra}." for extra in network.classifier_extras})


def _namings(network: VideoNetwork, own: Collection[str]) -> list[Names]:
    """Give every naming of the network's entries: this project's, the released code's, the public ones."""
    released = {name: network.released_name(name) for name in own}
    return [
        {name: (name,) for name in own},
        {name: network.released_names(name) for name in own},
        *_public_namings(network, released),
    ]


def _public_namings(network: VideoNetwork, released: Mapping[str, str]) -> list[Names]:
    """Give the namings of public files, torchvision's first, for entries whose released names are given."""
    kinds = [(network.torchvision_name(name), *network.public_names(name)) for name in released.values()]
    return [{name: (key,) for name, key in zip(released, keys, strict=True)} for keys in zip(*kinds, strict=True)]


def _choose_naming(namings: list[Names], state_dict: Mapping[str, Tensor]) -> Names:
    """Choose the naming that has most names in common with a state dict."""
    return max(namings, key=lambda names: sum(key in state_dict for keys in names.values() for key in keys))


def _look_up(
    network: VideoNetwork, names: Names, state_dict: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Look up entries under their names.

    Returns:
        What is found, by this project's names; and the state dict with the first name of each entry in place of all its
        names, brought to shape where the network knows how.
    """
    others = {key for keys in names.values() for key in keys}
    given = {key: tensor for key, tensor in state_dict.items() if key not in others}
    found = {}
    for name, keys in names.items():
        present = [key for key in keys if key in state_dict]
        if present:
            found[name] = given[keys[0]] = network.adapt(name, state_dict[present[-1]])
    return found, given


def _shape_2d(tensor: Tensor) -> tuple[int, ...]:
    """Give the shape of what a 2D network has for a tensor that no kernel is made for: without a time axis of 1."""
    shape = tuple(tensor.shape)
    return (*shape[:2], *shape[3:]) if len(shape) == 5 else shape


def _compare(
    wanted: Mapping[str, Sequence[int]], given: Mapping[str, Tensor], *, optional: Collection[str] = ()
) -> dict[str, list[str]]:
    """Name, by kind, where `given` differs from exactly the `wanted` shapes; `optional` names may be absent."""
    mismatches = {
        "missing": [key for key in wanted if not (key in given or key in optional or key.endswith(_COUNTER))],
        "not of this network": [key for key in given if key not in wanted],
        "of another shape": [
            f"{key} {list(tensor.shape)} in place of {list(wanted[key])}"
            for key, tensor in given.items()
            if key in wanted and tensor.shape != tuple(wanted[key])
        ],
    }
    return {kind: keys for kind, keys in mismatches.items() if keys}


def _require_match(
    mismatches: Mapping[str, list[str]], *, source: Path | None, classifiers: tuple[str, ...] = ()
) -> None:
    """Raise WeightsError if there are mismatches; if only classifiers mismatch, the message says what to do."""
    if not mismatches:
        return
    found = "; ".join(f"{len(keys)} {kind} ({_shorten(keys)})" for kind, keys in mismatches.items())
    origin = f"{source}: " if source else ""
    hint = ""
    if classifiers and all(key.startswith(classifiers) for keys in mismatches.values() for key in keys):
        hint = "; only the classifier differs: network.remove_fc: true leaves it out of network.pretrained_model"
    raise WeightsError(f"{origin}weights do not fit the network: {found}{hint}")


def _shorten(keys: list[str]) -> str:
    """Name the first few keys."""
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")


if __name__ == "__main__":
    from model.weights_command import main  # which uses this module

    run_script(partial(main, __doc__))
