"""Load weights under this project's or other names, inflate weights of 2D networks to 3D ones, and export weights.

  python -m model.weights export --config_file record/X.yml [--output weights.pth] [section.key=value ...]
  python -m model.weights list ['*resnet50*']
  python -m model.weights fetch NAME [--output pretrained_weights] [--mirror URL]

"export" writes the weights that a record has trained (or network.eva_model=FILE) under the names of the paper's
released code, by default to output/X/released.pth. The released networks load the file; network.eva_model and
network.pretrained_model do, too. "list" lists the public files that load here (docs/weights.md); "fetch" downloads one
of them, resumes an interrupted download, and compares the file's SHA-256 with the digits in its name.
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

# How many names an error shows of each kind of mismatch.
_SHOWN = 3

# Entry in which batch norm counts its batches; old files lack it and no network here depends on it.
_COUNTER = "num_batches_tracked"

# A naming: for each entry of this project's state dict, its names in a file.
Names = dict[str, tuple[str, ...]]


class WeightsError(UserError):
    """A state dict that does not match the network; the message counts the mismatches and names some of them."""


def load_weights(
    network: VideoNetwork,
    state_dict: Mapping[str, Tensor],
    *,
    missing: Iterable[str] = (),
    source: Path | None = None,
) -> None:
    """Load all weights, or raise and load none; names may be this project's, the released code's or a public file's.

    The frame networks `resnet*`, `eftnet_*` and `vit_*` load torchvision's files of image networks, `torchvision/*`
    its files of video networks. EfficientNets also load files of EfficientNet-PyTorch, transformers those of timm and
    DeiT. A file of the released S3D has every layer under two names; one of them is enough, and if they differ, the
    second one counts, as in the released code. Position embeddings of another image size are resized.

    Args:
        network: The network to load into.
        state_dict: Name -> tensor. Batch norm's `num_batches_tracked` may be absent.
        missing: Dotted names of modules that `state_dict` may lack, e.g. ("fc",); their weights stay as they are.
        source: File of the weights, named in the error.

    Raises:
        WeightsError: An entry is missing or unexpected, or has another shape.
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
    """Inflate all weights of a 2D network to the network that extends it, or raise and load none.

    Modules that replace a 2D kernel inflate it (`layers.units`); norms and unchanged layers are copied. Classifiers and
    layers without a counterpart (the fully connected layers of LGD and DG, the gates of S3D-G) keep their weights; both
    last stages of DG get the same weights. S3D extends no published network: it takes weights of a network on images
    under its own names.

    Args:
        network: The network to load into.
        state_dict: The 2D network's weights under the released code's, torchvision's or other public names; its
            classifier is ignored.
        source: File of the weights, named in the error.

    Raises:
        WeightsError: An entry is missing or unexpected, or has another shape.
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
    """Return the weights, on the CPU, under the released code's names; `load_weights` restores them.

    Weights of torchvision's video networks get torchvision's names.
    """
    return {
        released: tensor.detach().cpu()
        for name, tensor in network.state_dict().items()
        for released in network.released_names(name)
    }


def without_classifiers(network: VideoNetwork, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the classifiers; its names are any that `load_weights` accepts."""
    prefixes = _classifier_prefixes(network)
    return {key: tensor for key, tensor in state_dict.items() if not key.startswith(prefixes)}


def _classifier_prefixes(network: VideoNetwork) -> tuple[str, ...]:
    """Return the prefixes of classifiers' entries, including the dot, in all kinds of files."""
    weights = [f"{classifier}.weight" for classifier in network.classifier_names]
    names = {key for naming in _namings(network, weights) for keys in naming.values() for key in keys}
    return tuple({name.removesuffix("weight") for name in names} | {f"{extra}." for extra in network.classifier_extras})


def _namings(network: VideoNetwork, own: Collection[str]) -> list[Names]:
    """Return all namings of the network's entries: this project's, the released code's, the public ones."""
    released = {name: network.released_name(name) for name in own}
    return [
        {name: (name,) for name in own},
        {name: network.released_names(name) for name in own},
        *_public_namings(network, released),
    ]


def _public_namings(network: VideoNetwork, released: Mapping[str, str]) -> list[Names]:
    """Return the namings of public files, torchvision's first; `released` has the released name of each entry."""
    kinds = [(network.torchvision_name(name), *network.public_names(name)) for name in released.values()]
    return [{name: (key,) for name, key in zip(released, keys, strict=True)} for keys in zip(*kinds, strict=True)]


def _choose_naming(namings: list[Names], state_dict: Mapping[str, Tensor]) -> Names:
    """Return the naming that has the most names in common with a state dict."""
    return max(namings, key=lambda names: sum(key in state_dict for keys in names.values() for key in keys))


def _look_up(
    network: VideoNetwork, names: Names, state_dict: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Look up the entries of a state dict under the names of a naming.

    Returns:
        The tensors that were found, by this project's names, adapted by the network. And the state dict with these
        tensors, each under the first name of its entry only.
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
    """Return the shape of a copied tensor in the 2D network: without the time axis, if there is one."""
    shape = tuple(tensor.shape)
    return (*shape[:2], *shape[3:]) if len(shape) == 5 else shape


def _compare(
    wanted: Mapping[str, Sequence[int]], given: Mapping[str, Tensor], *, optional: Collection[str] = ()
) -> dict[str, list[str]]:
    """List, by kind, how `given` differs from the `wanted` shapes; `optional` names may be absent."""
    mismatches = {
        "missing": [key for key in wanted if not (key in given or key in optional or key.endswith(_COUNTER))],
        "unexpected": [key for key in given if key not in wanted],
        "of another shape": [
            f"{key} {list(tensor.shape)}, expected {list(wanted[key])}"
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
    """Join the first few keys."""
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")


if __name__ == "__main__":
    from model.weights_command import main  # here, since it imports this module

    run_script(partial(main, __doc__))
