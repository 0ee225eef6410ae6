"""Weights into networks: this project's or the released names, and 2D networks' weights into 3D ones."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from layers.units import Unit
from model.network import VideoNetwork
from utils.errors import UserError

# How many names an error shows of each kind of misfit.
_SHOWN = 3

# Batch norm counts its batches in this entry; old files lack it and no network here depends on it.
_COUNTER = "num_batches_tracked"

# Entries of a 2D network that no 3D network takes.
_CLASSIFIER_2D = "fc."


class WeightsError(UserError):
    """A state dict does not fit the network; the message counts the misfits and names some of them."""


def load_weights(network: VideoNetwork, state_dict: Mapping[str, Tensor], *, missing: Iterable[str] = ()) -> None:
    """Load weights under this project's names or those of the paper's released code, all of them or none.

    Args:
        network: Takes the weights.
        state_dict: Name -> tensor. Batch norm's `num_batches_tracked` may be absent.
        missing: Modules, by dotted name, whose weights `state_dict` may lack, e.g. ("fc",); those keep their values.

    Raises:
        WeightsError: The network has weights that `state_dict` lacks, or the other way round, or a shape differs.
    """
    own = network.state_dict()
    released = {name: network.released_name(name) for name in own}
    is_released = len(state_dict.keys() & released.values()) > len(state_dict.keys() & own.keys())
    given_names = released if is_released else {name: name for name in own}
    prefixes = tuple(f"{module}." for module in missing)
    optional = {given_names[name] for name in own if name.startswith(prefixes)}
    _check({given_names[name]: own[name].shape for name in own}, state_dict, optional=optional)
    found = {name: state_dict[given] for name, given in given_names.items() if given in state_dict}
    network.load_state_dict(found, strict=False)


def inflate(network: VideoNetwork, state_dict: Mapping[str, Tensor]) -> None:
    """Transfer a 2D network's weights into the 3D network of the same backbone, all of them or none.

    Each unit makes its convolutions from the 2D kernel (`layers.units`) and takes over the norm. Classifiers and the
    fully connected layers of blocks keep their values; a second last stage takes the same weights as the first.

    Args:
        network: Takes the weights.
        state_dict: A 2D ResNet's weights under torchvision's names; its classifier is ignored.

    Raises:
        WeightsError: A layer is missing, unknown to the network or of another shape.
    """
    units = {path: module for path, module in network.named_modules() if isinstance(module, Unit)}
    norms = {
        name: tensor.shape
        for path, unit in units.items()
        for name, tensor in unit.norm.state_dict(prefix=f"{path}.norm.").items()
    }
    kernels = {f"{path}.spatial.weight": unit.shape_2d for path, unit in units.items()}
    sources = {name: network.source_name(name) for name in (*kernels, *norms)}
    given = {key: tensor for key, tensor in state_dict.items() if not key.startswith(_CLASSIFIER_2D)}
    _check({sources[name]: shape for name, shape in (kernels | norms).items()}, given)
    weights = {name: given[sources[name]] for name in norms if sources[name] in given}
    for path, unit in units.items():
        kernel = given[sources[f"{path}.spatial.weight"]]
        weights |= {f"{path}.{name}": tensor for name, tensor in unit.inflated(kernel).items()}
    network.load_state_dict(weights, strict=False)


def _check(wanted: Mapping[str, Sequence[int]], given: Mapping[str, Tensor], *, optional: Collection[str] = ()) -> None:
    """Raise WeightsError unless `given` holds exactly the `wanted` shapes; `optional` names may be absent."""
    misfits = {
        "missing": [key for key in wanted if not (key in given or key in optional or key.endswith(_COUNTER))],
        "not of this network": [key for key in given if key not in wanted],
        "of another shape": [
            f"{key} {list(tensor.shape)} in place of {list(wanted[key])}"
            for key, tensor in given.items()
            if key in wanted and tensor.shape != tuple(wanted[key])
        ],
    }
    found = [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in misfits.items() if keys]
    if found:
        raise WeightsError(f"weights do not fit the network: {'; '.join(found)}")


def _some(keys: list[str]) -> str:
    """Name the first few keys."""
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
