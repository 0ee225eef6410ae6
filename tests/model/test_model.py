"""Every network by name: shapes of the released state dicts, and the properties of all networks."""

import functools
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import model
from layers.norm import BatchNorm3d, set_frozen_batch_norm
from tests.networks import CLASSES, FAMILIES, SHAPES, blank_network, min_clip_frames, tiny_clips, tiny_network
from utils.errors import UserError

# One network of each skeleton.
KINDS = ("p3d_resnet18", "lgd_p3d_resnet18", "dg_p3d_resnet18")


# First temporal convolutions of P3D-B in basic blocks: the released code gives their input the width of the output, so
# that these six networks cannot run and no weights of that shape exist.
FIXED = {
    "p3db_resnet18": ("layer2", "layer3", "layer4"),
    "p3db_resnet34": ("layer2", "layer3", "layer4"),
    "lgd_p3d_resnet18": ("layer3",),
    "lgd_p3d_resnet34": ("layer3", "layer4"),
    "dg_p3d_resnet18": ("layer3",),
    "dg_p3d_resnet34": ("layer3", "layer4", "layer4_dual"),
}


@dataclass(frozen=True)
class Outline:
    """Properties of a network of published width, cached for several tests, since building it takes long.

    Attributes:
        min_clip_frames: Least number of frames of a clip.
        shapes: Shape of every entry of the state dict, by its released names.
        epsilons: Epsilon of every norm, by its name, in the network's order.
    """

    min_clip_frames: int
    shapes: dict[str, list[int]]
    epsilons: dict[str, float]


@functools.cache
def outline(name: str) -> Outline:
    with torch.device("meta"):
        network = blank_network(name, num_classes=400, image_size=64)
    shapes = {
        released: list(tensor.shape)
        for key, tensor in network.state_dict().items()
        for released in network.released_names(key)
    }
    epsilons = {path: module.eps for path, module in network.named_modules() if hasattr(module, "eps")}
    return Outline(network.min_clip_frames, shapes, epsilons)


@pytest.mark.parametrize("name", model.list_models(released=True))
def test_state_dict_has_the_released_names_and_shapes(name: str) -> None:
    assert outline(name).min_clip_frames == min_clip_frames(name, early_stride=4)
    expected = dict(SHAPES[name])
    for stage in FIXED.get(name, ()):
        spatial, temporal = expected[f"{stage}.0.conv1.weight"], f"{stage}.0.conv1_t.weight"
        assert expected[temporal] == [spatial[0], spatial[0], 3, 1, 1]
        expected[temporal] = [spatial[0], spatial[1], 3, 1, 1]
    assert outline(name).shapes == expected


@pytest.mark.parametrize("name", [name for name in model.list_models(released=True) if "103" in name])
def test_epsilon_of_every_norm_of_the_deep_stem_networks(name: str) -> None:
    """2e-5, except for C2D and the first norm of seq_ networks, which have 1e-5."""
    epsilons = outline(name).epsilons
    expected = dict.fromkeys(epsilons, 1e-5 if name == "c2d_resnet103" else 2e-5)
    # Three in the stem, three in each of 33 blocks, one in each of four shortcuts; the second head has three more
    # blocks.
    assert len(expected) == 3 + 3 * 33 + 4 + (10 if name.startswith("dg_") else 0)
    if name == "seq_resnet103":
        expected[next(iter(expected))] = 1e-5
        assert next(iter(expected)) == "stem.unit1.norm"
    assert epsilons == expected


@pytest.mark.parametrize("name", [name for name in model.list_models(released=True) if "103" not in name])
def test_epsilon_of_every_norm_of_the_other_networks(name: str) -> None:
    expected = 1e-3 if "eftnet" in name else 1e-6 if "vit" in name else 1e-5
    assert set(outline(name).epsilons.values()) == {expected}


# The networks not listed here have the same rows, with more repeats.
DEEP = ("101", "101_2", "101_32x8d", "152", *(f"_b{number}" for number in range(3, 9)), "vit_l_p32", "vit_b_p16")
SHALLOW = [name for name in model.list_models() if not name.startswith("torchvision/") and not name.endswith(DEEP)]


@pytest.mark.parametrize("name", SHALLOW)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = tiny_network(name, dropout_ratio=0.0)
    heads = network(tiny_clips(name))
    assert [head.shape for head in heads] == [(2, CLASSES)] * len(network.classifier_names)
    torch.stack([F.cross_entropy(head, torch.tensor([0, 1])) for head in heads]).sum().backward()
    without = [key for key, weight in network.named_parameters() if weight.grad is None]
    assert without == []
    assert all(weight.grad.isfinite().all() for weight in network.parameters() if weight.grad is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_evaluation_is_deterministic_and_independent_of_the_batch(name: str) -> None:
    network = tiny_network(name).eval()
    clips = tiny_clips(name)
    with torch.inference_mode():
        both, again = network(clips), network(clips)
        alone = [network(clip[None]) for clip in clips]
    for head, logits in enumerate(both):
        assert torch.equal(logits, again[head])
        torch.testing.assert_close(logits, torch.cat([one[head] for one in alone]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_heads_do_not_depend_on_the_mode(name: str) -> None:
    network = tiny_network(name)
    assert len(network.train()(tiny_clips(name))) == len(network.eval()(tiny_clips(name)))
    for classifier in network.classifier_names:
        assert isinstance(network.get_submodule(classifier), nn.Linear)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_of_names_has_the_least_number_of_frames(name: str) -> None:
    for early_stride in (1, 4):
        assert tiny_network(name, early_stride=early_stride).min_clip_frames == min_clip_frames(name, early_stride)


def test_fuse() -> None:
    first, second = torch.randn(2, CLASSES), torch.randn(2, CLASSES)
    assert torch.equal(tiny_network("p3d_resnet18").fuse((first,)), first)
    assert torch.equal(tiny_network("lgd_p3d_resnet18").fuse((first, second)), first)
    torch.testing.assert_close(tiny_network("dg_p3d_resnet18").fuse((first, second)), (first + second) / 2)


@pytest.mark.parametrize("name", KINDS)
def test_a_short_clip_is_refused(name: str) -> None:
    network = tiny_network(name, early_stride=2)
    needed = network.min_clip_frames
    with pytest.raises(ValueError, match=f"a clip of {needed - 1} frames is too short: the network needs {needed}"):
        network(torch.randn(2, 3, needed - 1, 32, 32))


@pytest.mark.parametrize("name", KINDS)
def test_long_and_odd_clips(name: str) -> None:
    assert tiny_network(name, early_stride=2)(torch.randn(2, 3, 11, 45, 37))[0].shape == (2, CLASSES)


def test_time_is_strided_in_the_stem_only() -> None:
    network = tiny_network("p3d_resnet50", early_stride=2)
    features = network.stem(torch.randn(1, 3, 16, 64, 64))
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        features = stage(features)
    assert features.shape == (1, 256, 8, 2, 2)


def test_base_width_scales_every_stage() -> None:
    network = tiny_network("dg_p3d_resnet18", base_width=24)
    stages = (network.layer1, network.layer2, network.layer3, network.layer4, network.layer4_dual)
    assert [stage[1].branch.unit2.norm.num_features for stage in stages] == [24, 48, 96, 192, 192]
    assert network.stem.out_channels == 24
    assert network.fc.in_features == 192


def test_units_cycle_over_the_whole_network() -> None:
    network = tiny_network("dg_p3d_resnet50")
    letters = "".join(
        type(block.branch.unit2).__name__[3]
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4)
        for block in stage
    )
    assert letters == "ABCABCABCABCABCA"
    assert [type(block.branch.unit2).__name__[3] for block in network.layer4_dual] == ["B", "C", "A"]


@pytest.mark.parametrize("name", FAMILIES)
def test_flow_networks_take_two_channels(name: str) -> None:
    network = tiny_network(name, in_channels=2)
    assert network(tiny_clips(name, channels=2))[0].shape == (2, CLASSES)


@pytest.mark.parametrize("name", KINDS)
def test_dropout_acts_on_every_head_in_training_only(name: str) -> None:
    network = tiny_network(name, dropout_ratio=0.5).eval()
    clips = tiny_clips(name)
    without = network(clips)
    network.dropout.train()
    assert not any(torch.equal(a, b) for a, b in zip(without, network(clips), strict=True))


def test_maximum_pooling() -> None:
    average, maximum = (
        tiny_network("c2d_resnet18", pooling_name=f"Pooling{name}").eval() for name in ("Average", "Max")
    )
    maximum.load_state_dict(average.state_dict())
    clips = torch.randn(1, 3, 4, 32, 32)
    assert not torch.allclose(average(clips)[0], maximum(clips)[0])


def test_unknown_names_are_user_errors() -> None:
    with pytest.raises(UserError, match="did you mean dg_p3d_resnet50"):
        tiny_network("dg_p3d_resnet5O")
    with pytest.raises(UserError, match="'PoolingMedian'; there are PoolingAverage, PoolingMax"):
        tiny_network("c2d_resnet18", pooling_name="PoolingMedian")


def test_the_seed_determines_the_weights() -> None:
    first, second = tiny_network("dg_p3d_resnet18").state_dict(), tiny_network("dg_p3d_resnet18").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", KINDS)
def test_the_first_batch_norm_is_not_frozen(name: str) -> None:
    network = tiny_network(name)
    set_frozen_batch_norm(network, True)
    network.train()
    norms = {path: module for path, module in network.named_modules() if isinstance(module, BatchNorm3d)}
    assert [path for path, norm in norms.items() if norm.training] == ["stem.unit1.norm"]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(tiny_clips(name))
    changed = {
        key.rsplit(".", 1)[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])
    }
    assert changed == {"stem.unit1.norm"}


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_is_close(name: str) -> None:
    network = tiny_network(name).eval()
    clips = tiny_clips(name)[:, :, : min_clip_frames(name, 1)]
    with torch.inference_mode():
        exact = network(clips)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(clips)
    assert rough[0].dtype == torch.bfloat16
    for a, b in zip(exact, rough, strict=True):
        # Sums of many terms: their error is proportional to the largest logit, which bf16 resolves to 1/256.
        torch.testing.assert_close(b.float(), a, atol=5 / 256 * a.abs().max().item(), rtol=0)
