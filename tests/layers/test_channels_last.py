"""Channels last: outputs, gradients and state dicts are those of the contiguous memory format."""

import copy

import pytest
import torch
from torch import Tensor, nn

from layers.channels_last import use_channels_last
from layers.checkpointing import checkpoint_blocks
from model.build import make_initial_network, place_network
from tests.conftest import MakeRecord
from tests.networks import tiny_clips, tiny_network
from utils.config import load_config


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def run(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return the output, and all gradients of its product with random weights."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    outputs = module(x)
    out = torch.cat([head.flatten() for head in outputs]) if isinstance(outputs, tuple) else outputs
    torch.manual_seed(1)
    (out * torch.randn(out.shape, dtype=x.dtype)).sum().backward()
    assert x.grad is not None
    grads = {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}
    return {"output": out.detach(), "input": x.grad, **grads}


def require_equal(plain: nn.Module, x: Tensor) -> nn.Module:
    """Compare with a copy in channels last, in float64: only the order of sums differs."""
    ours = copy.deepcopy(plain)
    use_channels_last(ours)
    expected, found = run(plain, x), run(ours, x)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-11, msg=name)
    return ours


NETWORKS = ("dg_p3d_resnet18", "lgd_p3d_resnet18", "seq_resnet18", "resnet18", "s3dg", "seq_p3d_eftnet_b0")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_same_outputs_and_gradients(name: str) -> None:
    network = tiny_network(name, dropout_ratio=0.0, stochastic_depth=0.0 if "eftnet" in name else None).double()
    clips = tiny_clips(name).double()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    ours = require_equal(network.eval(), clips)
    after = ours.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) and after[key].shape == value.shape for key, value in before.items())


def test_checkpointed_blocks_have_bit_equal_gradients() -> None:
    network = tiny_network("dg_p3d_resnet18", dropout_ratio=0.0)
    use_channels_last(network)
    other = copy.deepcopy(network)
    checkpoint_blocks(other, other.repeated_blocks())
    clips = tiny_clips("dg_p3d_resnet18")
    expected, found = run(network, clips), run(other, clips)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "layout_name, expected",
    [("auto", False), ("channels_last", True), ("plain", False)],
)
def test_the_configuration_chooses_the_memory_format(layout_name: str, expected: bool, make_record: MakeRecord) -> None:
    config = load_config(make_record(), [f"network.layout={layout_name}"])
    network = place_network(config, make_initial_network(config, trained=None), torch.device("cpu"))
    weight = network.get_submodule("layer1.0.branch.unit1.spatial").weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d) is expected  # type: ignore[operator]


def test_checkpoints_load_in_either_memory_format() -> None:
    plain, ours = tiny_network("dg_p3d_resnet18").eval(), tiny_network("dg_p3d_resnet18").eval()
    use_channels_last(ours)
    nn.init.normal_(ours.fc.weight)
    plain.load_state_dict(ours.state_dict())
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, ours.get_parameter(name)) and weight.is_contiguous()
    clips = tiny_clips("dg_p3d_resnet18")
    for a, b in zip(plain(clips), ours(clips), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
