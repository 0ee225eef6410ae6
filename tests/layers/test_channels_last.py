"""Channels last: outputs, gradients and state dicts are those of the plain layout."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from layers import channels_last
from layers.channels_last import use_channels_last
from layers.checkpointing import checkpoint_blocks
from layers.convolutions import Conv3d
from layers.units import (
    C2DUnit,
    I3DUnit,
    P3DAUnit,
    P3DBUnit,
    P3DCUnit,
    PointwiseUnit,
    R2P1DUnit,
    StemUnit,
    UnitStyle,
    make_conv,
)
from model.build import make_initial_network, place_network
from tests.conftest import MakeRecord
from tests.networks import tiny_clips, tiny_network
from utils.config import load_config

CPU = torch.device("cpu")
UNITS = (C2DUnit, I3DUnit, R2P1DUnit, P3DAUnit, P3DBUnit, P3DCUnit)
# Clips of one and two frames have no frame on both sides; 7 x 5 is odd on both sides, and strided.
CLIPS = ((1, 7, 5), (2, 6, 8), (5, 7, 5))


@pytest.fixture(autouse=True)
def seed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(channels_last, "WIDE", 1)  # these networks are narrow


def run(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The output and all gradients of a random weighting of it."""
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
    """Compare with a copy in channels last, in float64: what is left is the order of sums."""
    ours = copy.deepcopy(plain)
    use_channels_last(ours, CPU)
    expected, found = run(plain, x), run(ours, x)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-11, msg=name)
    return ours


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_answers_and_learns_the_same(kind: Any, stride: int, groups: int, clip: tuple[int, ...]) -> None:
    style = UnitStyle(groups=groups, temporal_groups=1 if kind is R2P1DUnit else groups)
    unit = kind(12, 16, stride=stride, style=style).double()
    require_equal(unit, torch.randn(3, 12, *clip, dtype=torch.float64))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_pointwise_unit_and_a_stem_do_too(stride: int) -> None:
    require_equal(PointwiseUnit(6, 10, stride=stride).double(), torch.randn(2, 6, 3, 7, 5, dtype=torch.float64))
    stem = StemUnit(3, 8, size=7, early_stride=2 * stride, norm=nn.BatchNorm3d).double()
    require_equal(stem, torch.randn(2, 3, 9, 17, 15, dtype=torch.float64))


def test_float32_agrees_with_float64_as_well_as_torch_does() -> None:
    unit = P3DAUnit(48, 48, style=UnitStyle())
    x = torch.randn(2, 48, 4, 9, 9)
    ours = copy.deepcopy(unit)
    use_channels_last(ours, CPU)
    exact = run(copy.deepcopy(unit).double(), x.double())
    theirs, found = run(unit, x), run(ours, x)
    for name, value in exact.items():
        bound = 4 * (theirs[name] - value).abs().max() + 1e-6 * value.abs().max()
        assert (found[name] - value).abs().max() <= bound, name


@pytest.mark.parametrize("kernel, form", [((3, 1, 1), "temporal"), ((1, 3, 3), "spatial"), ((1, 1, 1), "pointwise")])
def test_derivatives_are_those_of_the_function(kernel: Any, form: str) -> None:
    conv = make_conv(3, 4, kernel=kernel, stride=(1, 2, 2)).double()
    found = channels_last._find_products(conv)
    assert found is not None and found.__name__ == form
    x = torch.randn(2, 3, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda clips: found(conv, clips.contiguous(memory_format=torch.channels_last_3d)), (x,)
    )


def test_the_gradient_of_the_weight_is_summed_over_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels_last, "UNFOLDED_BYTES", 1)
    require_equal(C2DUnit(4, 6, style=UnitStyle()).double(), torch.randn(3, 4, 2, 5, 6, dtype=torch.float64))


@pytest.mark.parametrize(
    "conv",
    [
        Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1)),
        Conv3d(4, 4, 1, bias=False, groups=2),
        Conv3d(4, 4, (3, 1, 1), bias=False),
        Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), stride=(2, 1, 1), bias=False),
        Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1), dilation=(1, 2, 2), bias=False),
        Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1), padding_mode="circular", bias=False),
        Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1), stride=(1, 2, 1), bias=False),
    ],
    ids=str,
)
def test_other_convolutions_stay_torchs(conv: Conv3d) -> None:
    assert channels_last._find_products(conv) is None
    require_equal(conv.double(), torch.randn(2, 4, 5, 7, 6, dtype=torch.float64))


NETWORKS = ("dg_p3d_resnet18", "lgd_p3d_resnet18", "seq_resnet18", "resnet18", "s3dg", "seq_p3d_eftnet_b0")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_and_learns_the_same(name: str) -> None:
    network = tiny_network(name, dropout_ratio=0.0, stochastic_depth=0.0 if "eftnet" in name else None).double()
    clips = tiny_clips(name).double()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    ours = require_equal(network.eval(), clips)
    after = ours.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) and after[key].shape == value.shape for key, value in before.items())


@pytest.mark.parametrize("channels, ours", [(63, False), (64, True)])
def test_narrow_convolutions_stay_torchs(channels: int, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    conv = make_conv(channels, 8, kernel=(1, 3, 3))
    assert (channels_last._find_products(conv) is not None) is ours


def test_laying_out_twice_is_once() -> None:
    network = tiny_network("dg_p3d_resnet18").eval()
    clips = tiny_clips("dg_p3d_resnet18")
    use_channels_last(network, CPU)
    once = network(clips)
    use_channels_last(network, CPU)
    assert all(torch.equal(a, b) for a, b in zip(once, network(clips), strict=True))


def test_a_feature_map_stays_in_the_layout() -> None:
    network = tiny_network("dg_p3d_resnet18")
    use_channels_last(network, CPU)
    seen: list[bool] = []
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm3d)):
        norm.register_forward_hook(
            lambda _, inputs, out: seen.append(out.is_contiguous(memory_format=torch.channels_last_3d))
        )
    network(tiny_clips("dg_p3d_resnet18"))
    assert seen and all(seen)


def test_checkpointed_blocks_learn_bit_by_bit_the_same() -> None:
    network = tiny_network("dg_p3d_resnet18", dropout_ratio=0.0)
    use_channels_last(network, CPU)
    other = copy.deepcopy(network)
    checkpoint_blocks(other, other.repeated_blocks())
    clips = tiny_clips("dg_p3d_resnet18")
    expected, found = run(network, clips), run(other, clips)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_under_autocast_torchs_own_convolutions_run() -> None:
    unit = P3DAUnit(8, 8, style=UnitStyle()).eval()
    x = torch.randn(2, 8, 3, 6, 6)
    ours = copy.deepcopy(unit)
    use_channels_last(ours, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = unit(x), ours(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("device, forms", [("cpu", True), ("cuda", False)])
def test_matrix_products_are_for_cpus(device: str, forms: bool) -> None:
    conv = make_conv(4, 4, kernel=(1, 3, 3))
    use_channels_last(conv, torch.device(device))  # where the weights are does not matter to it
    assert conv.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert isinstance(conv, Conv3d) and (conv.form is not None) is forms


BF16 = torch.bfloat16


@pytest.mark.parametrize(
    "layout_name, dtype, expected",
    [("auto", None, True), ("auto", BF16, False), ("channels_last", BF16, True), ("plain", None, False)],
)
def test_configuration_and_precision_choose(
    layout_name: str, dtype: torch.dtype | None, expected: bool, make_record: MakeRecord
) -> None:
    config = load_config(make_record(), [f"network.layout={layout_name}"])
    network = place_network(config, make_initial_network(config, trained=None), CPU, dtype=dtype)
    weight = network.get_submodule("layer1.0.branch.unit1.spatial").weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d) is expected  # type: ignore[operator]
    assert any(getattr(module, "form", None) is not None for module in network.modules()) is expected


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_in_bf16_the_forms_of_channels_last_are_torchs(frames: int) -> None:
    """Weights of bf16 and autocast alike: the matrix products are for float32 and float64 alone."""
    unit = P3DAUnit(8, 8, style=UnitStyle(norm=nn.BatchNorm3d))
    use_channels_last(unit, CPU)
    x = torch.randn(2, 8, frames, 6, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels_last, "_Temporal", None)
        patch.setattr(channels_last, "_Spatial", None)
        with torch.autocast("cpu", dtype=BF16):
            unit(x).sum().backward()
        assert unit.bfloat16()(x.bfloat16()).dtype == BF16


def test_checkpoints_go_from_one_layout_to_the_other() -> None:
    plain, ours = tiny_network("dg_p3d_resnet18").eval(), tiny_network("dg_p3d_resnet18").eval()
    use_channels_last(ours, CPU)
    nn.init.normal_(ours.fc.weight)
    plain.load_state_dict(ours.state_dict())
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, ours.get_parameter(name)) and weight.is_contiguous()
    clips = tiny_clips("dg_p3d_resnet18")
    for a, b in zip(plain(clips), ours(clips), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
