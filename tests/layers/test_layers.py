"""Units, blocks, batch norm and pooling against their definitions and the 2D layers that they replace."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.blocks import BasicBranch, DeepStem, DiffusionBlock, GlobalContextBlock, ResidualBlock, Stem
from layers.norm import BatchNorm3d, set_frozen_batch_norm
from layers.pooling import POOLINGS
from layers.units import (
    C2DUnit,
    I3DUnit,
    P3DAUnit,
    P3DBUnit,
    P3DCUnit,
    PointwiseUnit,
    R2P1DUnit,
    StemUnit,
    Unit,
    UnitStyle,
)
from utils.config.network_names import OTHERS, POOLING_NAMES
from utils.parts import find_part

UNITS = (C2DUnit, I3DUnit, R2P1DUnit, P3DAUnit, P3DBUnit, P3DCUnit)
# Units of families outside the released ones.
ADDED_UNITS = {unit for row in OTHERS if row.home for unit in getattr(find_part(row.home), "units", ())} - {*UNITS}
FRAMES = 5


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def randomize_norms(module: nn.Module) -> None:
    """Give batch norms random statistics and weights, so that ignoring them changes the output."""
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            assert norm.running_mean is not None and norm.running_var is not None
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)


def inflate(unit: Unit, kernel: Tensor) -> Unit:
    """Inflate a 2D kernel to the unit and set the unit to evaluation mode."""
    outcome = unit.load_state_dict(unit.inflated(kernel), strict=False)
    assert not outcome.unexpected_keys
    assert all("norm" in key for key in outcome.missing_keys)
    randomize_norms(unit)
    return unit.eval()


def norm_2d(x: Tensor, norm: Any) -> Tensor:
    """Apply the norm of a unit to images."""
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", [*UNITS, *ADDED_UNITS])
def test_inflated_unit_has_the_output_of_the_2d_layer_on_a_still_clip(kind: Any, stride: int, groups: int) -> None:
    style = UnitStyle(groups=groups, temporal_groups=groups if kind in UNITS and kind is not R2P1DUnit else 1)
    if kind in ADDED_UNITS:
        style = replace(style, activation=lambda x: x)
    kernel = torch.randn(16, 12 // groups, 3, 3)
    unit = inflate(kind(12, 16, stride=stride, style=style), kernel)
    image = torch.randn(2, 12, 9, 9)
    expected = norm_2d(F.conv2d(image, kernel, stride=stride, padding=1, groups=groups), unit.norm)
    expected = F.relu(expected) if kind is P3DCUnit else expected
    found = unit(image.unsqueeze(2).repeat(1, 1, FRAMES, 1, 1))
    # I3D's padding in time affects the first and last frame; that of added units may affect all but the middle.
    frames = range(1, FRAMES - 1) if kind is I3DUnit else range(FRAMES) if kind in UNITS else [FRAMES // 2]
    for frame in frames:
        torch.testing.assert_close(found[:, :, frame], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [I3DUnit, R2P1DUnit, P3DAUnit, P3DBUnit, P3DCUnit])
def test_temporal_units_span_three_frames(kind: Any) -> None:
    unit = kind(4, 4, style=UnitStyle()).eval()
    clip = torch.randn(1, 4, 7, 5, 5)
    other = clip.clone()
    other[:, :, 3] += 1
    changed = (unit(clip) != unit(other)).flatten(3).any(3).any(1)[0]
    assert changed.tolist() == [False, False, True, True, True, False, False]


def test_p3d_units_by_their_equations() -> None:
    x = torch.randn(2, 6, 4, 5, 5, dtype=torch.float64)
    for kind in (P3DAUnit, P3DBUnit, P3DCUnit):
        unit = kind(6, 6, style=UnitStyle()).double()
        randomize_norms(unit)
        unit.eval()
        norm = unit.norm
        space, time = unit.spatial.weight, unit.temporal.weight
        in_space = F.conv3d(x, space, padding=(0, 1, 1))
        if kind is P3DAUnit:
            expected = norm(F.conv3d(in_space, time, padding=(1, 0, 0)))
        elif kind is P3DBUnit:
            expected = norm(in_space + F.conv3d(x, time, padding=(1, 0, 0)))
        else:
            y = torch.relu(norm(in_space))
            expected = y + F.conv3d(y, time, padding=(1, 0, 0))
        torch.testing.assert_close(unit(x), expected)


def test_r2p1d_has_the_weights_of_a_full_kernel() -> None:
    count = {
        kind: sum(p.numel() for p in kind(64, 64, style=UnitStyle()).parameters()) for kind in (R2P1DUnit, I3DUnit)
    }
    assert count[R2P1DUnit] == count[I3DUnit]


def test_r2p1d_is_inflated_in_the_middle_of_its_width() -> None:
    kernel = torch.randn(16, 12, 3, 3)
    spatial = R2P1DUnit(12, 16, style=UnitStyle()).inflated(kernel)["spatial.weight"][:, :, 0]
    # 36 filters: 5/8 of 16 zero filters before and after the 16 of the 2D network.
    assert torch.equal(spatial, torch.cat([torch.zeros(10, 12, 3, 3), kernel, torch.zeros(10, 12, 3, 3)]))


@pytest.mark.parametrize("early_stride", [1, 2, 4])
@pytest.mark.parametrize("channels", [3, 2])
def test_inflated_stem_uses_the_middle_frame(early_stride: int, channels: int) -> None:
    kernel = torch.randn(8, 3, 7, 7)
    unit = StemUnit(channels, 8, size=7, early_stride=early_stride, norm=lambda _: nn.Identity())
    unit.load_state_dict(unit.inflated(kernel))
    clip = torch.randn(1, channels, 2 * early_stride + (early_stride > 1), 16, 16)
    output = unit(clip)
    assert output.shape == (1, 8, 2, 8, 8)
    # The middle of an even number of frames is the later one; flow gets the mean of the kernel over RGB.
    seen = clip[:, :, early_stride // 2 :: early_stride][:, :, :2]
    flat = kernel if channels == 3 else kernel.mean(1, keepdim=True).repeat(1, channels, 1, 1)
    for step in range(2):
        torch.testing.assert_close(output[:, :, step], F.conv2d(seen[:, :, step], flat, stride=2, padding=3))


@pytest.mark.parametrize(("stem", "channels"), [(Stem, 8), (DeepStem, 16)])
def test_stem_shape(stem: Any, channels: int) -> None:
    module = stem(3, 8, early_stride=4, style=UnitStyle())
    assert module.out_channels == channels
    assert module(torch.randn(2, 3, 11, 30, 34)).shape == (2, channels, 2, 8, 9)


def test_random_convolutions_follow_he() -> None:
    # Fan-out of a grouped 1x3x3: 64 outputs x 9 positions (torchvision's convention: groups are not counted).
    weight = C2DUnit(64, 64, style=UnitStyle(groups=4)).spatial.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def make_block(kind: Any, in_channels: int, out_channels: int) -> Any:
    branch = BasicBranch(in_channels, out_channels, out_channels, stride=1, unit=P3DAUnit, style=UnitStyle())
    shortcut = nn.Identity() if in_channels == out_channels else PointwiseUnit(in_channels, out_channels)
    return kind(branch, shortcut, in_channels=in_channels, out_channels=out_channels)


@pytest.mark.parametrize("kind", [GlobalContextBlock, DiffusionBlock])
def test_the_global_term_is_a_constant_at_initialization(kind: Any) -> None:
    """A new block is a plain residual block with the constant added to the bias of its last norm."""
    block = make_block(kind, 32, 32).eval()
    constant = (block.fc6 if kind is DiffusionBlock else block.fc2).bias
    plain = make_block(ResidualBlock, 32, 32).eval()
    plain.load_state_dict({key: value for key, value in block.state_dict().items() if "fc" not in key})
    with torch.no_grad():
        plain.branch.unit2.norm.bias += constant
    x = torch.randn(2, 32, 3, 6, 6)
    output = block((x, torch.randn(2, 32)))[0] if kind is DiffusionBlock else block(x)
    torch.testing.assert_close(output, plain(x))


def test_global_context_reaches_every_position() -> None:
    block = make_block(GlobalContextBlock, 32, 32).eval()
    nn.init.normal_(block.fc2.weight)
    x = torch.randn(1, 32, 4, 6, 6)
    other = x.clone()
    other[0, :, 0, 0, 0] += 1
    assert (block(x)[0, :, 3, 5, 5] != block(other)[0, :, 3, 5, 5]).any()


def test_diffusion_block_by_its_equations() -> None:
    block = make_block(DiffusionBlock, 32, 64).eval()
    nn.init.normal_(block.fc6.weight)
    x, g = torch.randn(2, 32, 3, 6, 6), torch.randn(2, 32)
    local, vector = block((x, g))
    expected = torch.relu(block.fc2(block.fc1(x.mean((2, 3, 4)))) + block.fc4(block.fc3(g)))
    torch.testing.assert_close(vector, expected)
    term = block.fc6(block.fc5(expected)).reshape(2, 64, 1, 1, 1)
    torch.testing.assert_close(local, torch.relu(block.branch(x) + block.shortcut(x) + term))


@pytest.mark.parametrize("kind", [ResidualBlock, GlobalContextBlock, DiffusionBlock])
def test_blocks_do_not_modify_their_input(kind: Any) -> None:
    block = make_block(kind, 32, 32)
    x = torch.randn(2, 32, 3, 6, 6)
    before = x.clone()
    block((x, torch.randn(2, 32)) if kind is DiffusionBlock else x)
    assert torch.equal(x, before)


def test_pooling() -> None:
    assert tuple(POOLINGS) == POOLING_NAMES
    features = torch.randn(2, 3, 4, 5, 6)
    torch.testing.assert_close(POOLINGS["PoolingAverage"](features), features.flatten(2).mean(2))
    torch.testing.assert_close(POOLINGS["PoolingMax"](features), features.flatten(2).max(2).values)


def running_statistics(network: Any) -> list[Tensor]:
    return [norm.running_mean.clone() for norm in network]


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_weight() -> None:
    network = nn.Sequential(BatchNorm3d(4), BatchNorm3d(4), BatchNorm3d(4))
    randomize_norms(network)
    x = torch.randn(8, 4, 2, 3, 3) + 2
    set_frozen_batch_norm(network, True)
    network.train()
    before = running_statistics(network)
    network(x).square().sum().backward()
    after = running_statistics(network)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [False, True, True]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    # A frozen norm outputs the same in both modes; the first norm uses the batch's statistics in training.
    are_equal = [bool(torch.equal(norm.train()(x), norm.eval()(x))) for norm in network]
    assert are_equal == [False, True, True]


def test_frozen_batch_norm_is_reversible() -> None:
    network = nn.Sequential(BatchNorm3d(4), BatchNorm3d(4)).train()
    set_frozen_batch_norm(network, True)
    assert [norm.training for norm in network] == [True, False]
    set_frozen_batch_norm(network, False)
    assert [norm.training for norm in network] == [True, True]
    before = running_statistics(network)
    network(torch.randn(8, 4, 2, 3, 3) + 2)
    assert not any(torch.equal(a, b) for a, b in zip(before, running_statistics(network), strict=True))


def test_freezing_keeps_evaluation_mode() -> None:
    network = nn.Sequential(BatchNorm3d(4), BatchNorm3d(4)).eval()
    set_frozen_batch_norm(network, True)
    set_frozen_batch_norm(network, False)
    assert not any(module.training for module in network.modules())
