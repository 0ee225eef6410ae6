"""Initialization of every family: its statistics are those of the paper's released code."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.networks import RELEASED_FAMILIES, tiny_network

RESNETS = tuple(name for name in RELEASED_FAMILIES if "resnet" in name)
EFFICIENTNETS = tuple(name for name in RELEASED_FAMILIES if "eftnet" in name)


def layers_of(network: Any, kind: Any) -> dict[str, Any]:
    """Return the layers of some classes, by name."""
    layers = {path: module for path, module in network.named_modules() if isinstance(module, kind)}
    assert layers
    return layers


def assert_normal(weights: dict[Any, Tensor], expected: dict[Any, float]) -> None:
    """Assert that weights are normal with mean 0 and their expected standard deviation.

    Mean and deviation may be off by six standard errors, of each tensor and of all together, in units of the expected
    deviation; the fraction outside of two deviations is checked, too.
    """
    scaled = {name: weight.detach().flatten().double() / expected[name] for name, weight in weights.items()}
    for name, values in [*scaled.items(), ("all", torch.cat(list(scaled.values())))]:
        error = 6 / math.sqrt(len(values))
        assert values.mean().item() == pytest.approx(0, abs=error), name
        assert values.std(correction=0).item() == pytest.approx(1, abs=error), name
    together = torch.cat(list(scaled.values()))
    assert len(together) > 50_000
    assert (together.abs() > 2).double().mean().item() == pytest.approx(0.0455, abs=0.003)


def assert_torchs_default(layers: dict[str, Any]) -> None:
    """Assert that weights and biases are uniform within 1/sqrt(fan-in), torch's default."""
    scaled = []
    for name, layer in layers.items():
        bound = 1 / math.sqrt(layer.weight[0].numel())
        for values in (layer.weight, layer.bias):
            if values is not None:
                scaled.append(values.detach().flatten().double() / bound)
                assert scaled[-1].abs().max() <= 1 + 1e-6, name
                error = 6 / math.sqrt(3 * len(scaled[-1]))
                assert scaled[-1].mean().item() == pytest.approx(0, abs=error), name
                assert scaled[-1].square().mean().item() == pytest.approx(1 / 3, abs=error), name
    together = torch.cat(scaled)
    assert together.square().mean().item() == pytest.approx(1 / 3, abs=2 / math.sqrt(len(together)))


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_follow_he(name: str) -> None:
    network = tiny_network(name)
    convolutions = layers_of(network, (nn.Conv2d, nn.Conv3d))
    # Fan-out as torchvision counts it: outputs times positions of the kernel.
    deviations = {
        path: math.sqrt(2 / (conv.out_channels * math.prod(conv.kernel_size))) for path, conv in convolutions.items()
    }
    assert_normal({path: conv.weight for path, conv in convolutions.items()}, deviations)
    # The last layer of a global term has a zero weight, and torch's default bias.
    last = {"dg_p3d_resnet18": ".fc2", "lgd_p3d_resnet18": ".fc6"}.get(name, "none")
    linear = layers_of(network, nn.Linear)
    constant = {path: layer for path, layer in linear.items() if path.endswith(last)}
    assert len(constant) == {"dg_p3d_resnet18": 10, "lgd_p3d_resnet18": 8}.get(name, 0)
    biases = []
    for layer in constant.values():
        assert torch.count_nonzero(layer.weight) == 0
        biases.append(layer.bias.detach() * math.sqrt(layer.in_features))
        assert biases[-1].abs().max() <= 1 + 1e-6
    if biases:
        assert torch.cat(biases).square().mean().item() == pytest.approx(1 / 3, abs=0.05)
    assert_torchs_default({path: layer for path, layer in linear.items() if path not in constant})


@pytest.mark.parametrize("name", EFFICIENTNETS)
def test_efficientnets_keep_torchs_defaults(name: str) -> None:
    network = tiny_network(name)
    layers = layers_of(network, (nn.Conv2d, nn.Conv3d, nn.Linear))
    assert sum("temporal" in path for path in layers) == (16 if name == "seq_p3d_eftnet_b0" else 0)
    assert_torchs_default(layers)


@pytest.mark.parametrize("name", ["s3d", "s3dg"])
def test_convolutions_of_s3d_have_one_deviation(name: str) -> None:
    network = tiny_network(name)
    convolutions = layers_of(network, nn.Conv3d)
    assert len(convolutions) == 77
    assert_normal({path: conv.weight for path, conv in convolutions.items()}, dict.fromkeys(convolutions, 0.01))
    assert_torchs_default(layers_of(network, nn.Linear))


@pytest.mark.parametrize("name", [name for name in RELEASED_FAMILIES if "vit" in name])
def test_linear_layers_of_transformers_have_one_deviation(name: str) -> None:
    network = tiny_network(name)
    linear = layers_of(network, nn.Linear)
    tokens = {key: weight for key, weight in network.named_parameters() if key.endswith(("token", "pos_embed"))}
    weights = {path: layer.weight for path, layer in linear.items()} | tokens
    assert_normal(weights, dict.fromkeys(weights, 0.02))  # truncated at 100 deviations
    assert all(torch.count_nonzero(layer.bias) == 0 for layer in linear.values() if layer.bias is not None)
    assert_torchs_default(layers_of(network, (nn.Conv2d, nn.Conv3d)))


@pytest.mark.parametrize("name", RELEASED_FAMILIES)
def test_norms_start_with_weight_1_and_bias_0(name: str) -> None:
    for norm in layers_of(tiny_network(name), (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)).values():
        assert torch.all(norm.weight == 1) and torch.all(norm.bias == 0)
