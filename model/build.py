"""Build the network of a record from its configuration, with its weights, on its device."""

import functools
from pathlib import Path
from typing import Any

import torch

from layers.channels_last import use_channels_last
from model.network import VideoNetwork
from model.registry import create_model
from model.summary import multiply_adds
from model.weights import inflate, load_weights, without_classifiers
from utils.config import RunConfig
from utils.config.sections import InputConfig
from utils.training.weight_files import WeightFile, read_weight_file

WEIGHTS_HINT = (
    "put the file there (python -m model.weights fetch NAME downloads the public ones; docs/weights.md has them, and "
    "what to do about the others), or set the key to yours (network.pretrained_model= for random weights)"
)


def network_arguments(config: RunConfig) -> dict[str, Any]:
    """Return the arguments of `create_model` for a record's network."""
    net = config.network
    return {
        "net_name": net.net_name,
        "num_classes": config.dataset.num_classes,
        "early_stride": net.early_stride,
        "dropout_ratio": net.dropout_ratio,
        "image_size": config.states[-1].crop_size,
        "pooling_name": net.pooling_name,
        "base_width": net.base_width,
        "in_channels": 2 if config.dataset.use_flow else 3,
        "stochastic_depth": net.stochastic_depth if net.stochastic_depth >= 0 else None,
        "checkpoint_blocks": net.checkpoint_blocks,
    }


def make_initial_network(config: RunConfig, *, trained: dict[str, Any] | None) -> VideoNetwork:
    """Return the network that training starts or resumes from, on the CPU.

    Args:
        config: The record.
        trained: Content of the checkpoint to resume from. None: random weights (seeded), or the pretrained or inflated
            weights of network.pretrained_model.
    """
    torch.manual_seed(config.optimizer.seed)
    network = create_model(**network_arguments(config))
    net = config.network
    if trained is not None:
        network.load_state_dict(trained["network"])
    elif net.pretrained_model:
        path = config.require_file("network", "pretrained_model", hint=WEIGHTS_HINT)
        weights = read_weight_file(config, path).tensors
        if net.transfer_weights:
            inflate(network, weights, source=path)
        else:
            if net.remove_fc:
                weights = without_classifiers(network, weights)
            missing = network.classifier_names if net.remove_fc else ()
            load_weights(network, weights, missing=missing, source=path)
    return network


def make_trained_network(config: RunConfig, path: Path) -> VideoNetwork:
    """Return the network with the weights of a checkpoint (of this project or the released code), on the CPU."""
    return fill_network(config, read_weight_file(config, path), source=path)


def fill_network(config: RunConfig, weights: WeightFile, *, source: Path) -> VideoNetwork:
    """Return the network with weights read from the file `source`, on the CPU."""
    network = create_model(**network_arguments(config))
    load_weights(network, weights.tensors, source=source)
    return network


def place_network(config: RunConfig, network: VideoNetwork, device: torch.device) -> VideoNetwork:
    """Move the network to a device, in the memory format of network.layout; its state dict stays equal."""
    network.to(device)
    if config.network.layout == "channels_last":
        use_channels_last(network)
    return network


def describe_network(config: RunConfig, network: VideoNetwork) -> str:
    """Return "NAME, N M weights", in millions of parameters."""
    return f"{config.network.net_name}, {sum(weight.numel() for weight in network.parameters()) / 1e6:.2f} M weights"


def count_multiply_adds(config: RunConfig, state: InputConfig) -> int:
    """Return the multiply-adds of the forward pass of one training clip of `state`, without computing it."""
    shape = (1, 2 if config.dataset.use_flow else 3, state.num_frames, state.crop_size, state.crop_size)
    return _count_multiply_adds(tuple(network_arguments(config).items()), shape)


@functools.cache
def _count_multiply_adds(arguments: tuple[tuple[str, Any], ...], shape: tuple[int, ...]) -> int:
    with torch.device("meta"):
        return multiply_adds(create_model(**dict(arguments)).eval(), torch.empty(shape))


def measure_weights(config: RunConfig) -> int:
    """Return the bytes of the network's state dict, without allocating it."""
    with torch.device("meta"):
        network = create_model(**network_arguments(config))
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
