"""Weights: logits of the released networks, loading under either naming, and inflation of 2D networks."""

import functools
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import model
from tests.networks import CLASSES, DATA, SHAPES, blank_network, tiny_network, zero_global_terms
from utils.errors import UserError
from utils.torchvision_import import import_torchvision

LOGITS = json.loads((DATA / "network_logits.json").read_text())


@functools.cache
def known_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """Return a weight that depends only on name and shape, as when the logits were recorded."""
    a = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("num_batches_tracked"):
        a = np.zeros(shape)
    elif key.endswith("running_var"):
        a = 1 + 0.1 * np.abs(a)
    elif len(shape) >= 2:
        a *= 0.8
        a /= np.sqrt(np.prod(shape[1:]))
    elif key.endswith("weight"):
        a = 1 + 0.1 * a
    else:  # biases and running means
        a = 0.1 * a
    return torch.from_numpy(np.asarray(a, dtype=np.float32))


@pytest.fixture(scope="module", autouse=True)
def forget_known_tensors() -> Iterator[None]:
    """Free the cached tensors, some 400 MB, which most networks share, after this module."""
    yield
    known_tensor.cache_clear()


def known_weights(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """Return a state dict of known weights."""
    return {key: known_tensor(key, tuple(shape)) for key, shape in shapes.items()}


def released_shapes(name: str, early_stride: int) -> dict[str, list[int]]:
    """Return names and shapes of the released state dict that the logits were recorded with."""
    shapes = dict(SHAPES[name])
    for first in {"conv1.weight", "_conv_stem.weight", "patch_embed.proj.weight"} & shapes.keys():
        if len(shapes[first]) == 5:
            shapes[first] = [*shapes[first][:2], early_stride, *shapes[first][3:]]
    return {key: [CLASSES, *shape[1:]] if key.startswith("fc") else shape for key, shape in shapes.items()}


def compute_heads(network: model.VideoNetwork) -> list[Tensor]:
    """Return the network's heads for the clips that the logits were recorded with."""
    clips = np.random.default_rng(0).standard_normal((2, 3, 16, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        return list(network(torch.from_numpy(clips)))


def assert_recorded(heads: list[Tensor], recorded: list[list[list[float]]], name: str) -> None:
    # The released LGD returns only its local head in evaluation.
    heads = heads[:1] if name.startswith("lgd") else heads
    assert len(heads) == len(recorded)
    for head, values in zip(heads, recorded, strict=True):
        torch.testing.assert_close(head, torch.tensor(values), atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", LOGITS["filled"])
def test_logits_are_those_of_the_released_network(case: str) -> None:
    name, early_stride = case.split(":")
    network = blank_network(name, early_stride=int(early_stride), image_size=64)
    model.load_weights(network, known_weights(released_shapes(name, int(early_stride))))
    assert_recorded(compute_heads(network.eval()), LOGITS["filled"][case], name)


@pytest.mark.parametrize("case", LOGITS["inflated"])
def test_inflated_logits_are_those_of_the_released_transfer(case: str) -> None:
    name, early_stride = case.split(":")
    network = blank_network(name, early_stride=int(early_stride), image_size=64)
    # Inflation keeps the fully connected layers, whose names are the same here and in the released code.
    kept = {key: shape for key, shape in released_shapes(name, int(early_stride)).items() if "fc" in key}
    assert not network.load_state_dict(known_weights(kept), strict=False).unexpected_keys
    model.inflate(network, known_weights(SHAPES[name.rsplit("_", 1)[1]]))
    assert_recorded(compute_heads(network.eval()), LOGITS["inflated"][case], name)


@pytest.mark.parametrize("is_released", [False, True])
def test_weights_load_under_either_naming(is_released: bool) -> None:
    source, target = (tiny_network("dg_p3d_resnet18") for _ in range(2))
    nn.init.normal_(source.fc.weight)
    for weight in target.parameters():
        nn.init.zeros_(weight)
    weights = source.state_dict()
    model.load_weights(target, {source.released_name(key): t for key, t in weights.items()} if is_released else weights)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in target.state_dict().items())


def test_missing_modules_keep_their_weights_if_allowed() -> None:
    network = tiny_network("dg_p3d_resnet18")
    bias = network.fc_dual.bias.clone()
    weights = {key: tensor + 1 for key, tensor in network.state_dict().items() if not key.startswith("fc_dual.")}
    with pytest.raises(model.WeightsError, match=r"2 missing \(fc_dual.weight, fc_dual.bias\)"):
        model.load_weights(network, weights, missing=("fc",))
    model.load_weights(network, weights, missing=("fc_dual",))
    assert torch.equal(network.fc_dual.bias, bias)
    assert torch.equal(network.fc.bias, weights["fc.bias"])


def test_weights_from_files_without_batch_counters() -> None:
    network = tiny_network("c2d_resnet18")
    weights = {key: tensor for key, tensor in network.state_dict().items() if "num_batches_tracked" not in key}
    model.load_weights(network, weights)


def _without(*keys: str) -> Any:
    return lambda weights: [weights.pop(key) for key in keys]


def _with(key: str, *shape: int) -> Any:
    return lambda weights: weights.update({key: torch.zeros(shape)})


BIASES = [f"layer4.{block}.bn{number}.bias" for block in (0, 1) for number in (1, 2)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("layer3.1.conv2_t.weight"), r"network: 1 missing \(layer3.1.conv2_t.weight\)$"),
        (_without(*BIASES), r"network: 4 missing \(layer4.0.bn1.bias, layer4.0.bn2.bias, layer4.1.bn1.bias, \.\.\.\)$"),
        (_with("layer5.0.conv1.weight", 1), r"network: 1 unexpected \(layer5.0.conv1.weight\)$"),
        (_with("fc.bias", 400), r"network: 1 of another shape \(fc.bias \[400\], expected \[11\]\); only the clas"),
        (lambda w: w.update(other=w.pop("fc.bias")), r"1 missing \(fc.bias\); 1 unexpected \(other\)$"),
        (lambda w: w.clear(), r"network: \d{3} missing \("),
    ],
)
def test_mismatched_weights_are_named_and_nothing_is_loaded(damage: Any, message: str) -> None:
    network = tiny_network("p3d_resnet18")
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    weights = {network.released_name(key): tensor + 1 for key, tensor in before.items()}
    damage(weights)
    with pytest.raises(model.WeightsError, match=message) as caught:
        model.load_weights(network, weights)
    assert isinstance(caught.value, UserError) and "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def make_network_2d(name: str) -> Any:
    """Return a 2D ResNet of torchvision in evaluation mode, with random batch norms."""
    torch.manual_seed(3)
    network = getattr(import_torchvision().models, name)(num_classes=CLASSES)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.uniform_(norm.weight, 0.2, 0.6)
            nn.init.normal_(norm.bias, std=0.1)
    return network.eval()


def inflated_network(name: str, network_2d: Any, *, early_stride: int) -> Any:
    """Return the 3D network inflated from the 2D network, including its classifiers."""
    network = tiny_network(name, base_width=64, early_stride=early_stride)
    model.inflate(network, network_2d.state_dict())
    for classifier in network.classifier_names:
        network.get_submodule(classifier).load_state_dict(network_2d.fc.state_dict())
    return zero_global_terms(network).eval()


@pytest.mark.parametrize(
    ("backbone", "families"),
    [
        ("resnet18", ("c2d", "r2p1d", "p3d", "p3da", "p3db", "p3dc", "lgd_p3d", "dg_p3d")),
        # Groups, and bottlenecks: the temporal convolutions are dense, or grouped in DG.
        ("resnext50_32x4d", ("r2p1d", "p3d", "dg_p3d")),
    ],
)
def test_inflated_network_has_the_output_of_its_2d_network_on_a_still_clip(
    backbone: str, families: tuple[str, ...]
) -> None:
    network_2d = make_network_2d(backbone)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = network_2d(images)
        for family in families:
            network = inflated_network(f"{family}_{backbone}", network_2d, early_stride=2)
            clips = images.unsqueeze(2).repeat(1, 1, network.min_clip_frames, 1, 1)
            torch.testing.assert_close(network(clips)[0], expected, atol=1e-4, rtol=1e-4, msg=family)


def test_inflated_second_head_is_the_2d_network_without_its_last_stride() -> None:
    network_2d = make_network_2d("resnet18")
    network = inflated_network("dg_p3d_resnet18", network_2d, early_stride=1)
    network_2d.layer4[0].conv1.stride = network_2d.layer4[0].downsample[0].stride = (1, 1)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            network(images.unsqueeze(2).repeat(1, 1, 8, 1, 1))[1], network_2d(images), atol=1e-4, rtol=1e-4
        )


def test_inflated_i3d_equals_the_2d_network_away_from_the_clip_ends() -> None:
    # Zero padding in time reaches one frame further with each of the 8 units: of 17 frames only the middle one is
    # unaffected.
    network_2d = make_network_2d("resnet18")
    network = inflated_network("i3d_resnet18", network_2d, early_stride=1)
    features: dict[str, Tensor] = {}
    network.layer4.register_forward_hook(lambda _, __, output: features.update(clip=output))
    network_2d.layer4.register_forward_hook(lambda _, __, output: features.update(image=output))
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        network(image.unsqueeze(2).repeat(1, 1, 17, 1, 1))
        network_2d(image)
    torch.testing.assert_close(features["clip"][:, :, 8], features["image"], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(features["clip"][:, :, 0], features["image"], atol=1e-3)


def test_inflation_keeps_classifiers_and_fully_connected_layers() -> None:
    network = tiny_network("dg_p3d_resnet18", base_width=64)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    model.inflate(network, make_network_2d("resnet18").state_dict())
    kept = {key for key, tensor in network.state_dict().items() if torch.equal(tensor, before[key])}
    assert {key for key in kept if "num_batches" not in key} == {key for key in before if "fc" in key}


def test_inflation_for_optical_flow_takes_the_mean_over_color() -> None:
    network_2d = make_network_2d("resnet18")
    network = tiny_network("c2d_resnet18", base_width=64, in_channels=2)
    model.inflate(network, network_2d.state_dict())
    network.fc.load_state_dict(network_2d.fc.state_dict())
    gray = torch.randn(2, 1, 48, 48)
    with torch.inference_mode():
        # Two equal channels are two thirds of the three of a gray image.
        flow = network.eval()((1.5 * gray).repeat(1, 2, 1, 1).unsqueeze(2))[0]
        torch.testing.assert_close(flow, network_2d(gray.repeat(1, 3, 1, 1)), atol=1e-4, rtol=1e-4)


def test_inflation_needs_no_batch_counters() -> None:
    weights = {key: t for key, t in make_network_2d("resnet18").state_dict().items() if "num_batches" not in key}
    model.inflate(blank_network("p3d_resnet18"), weights)


@pytest.mark.parametrize(
    ("target", "source", "message"),
    [
        ("p3d_resnet34", "resnet18", r"\d+ missing \(layer1.2.conv1.weight"),
        ("p3d_resnet18", "resnet34", r"\d+ unexpected \(layer1.2.conv1.weight"),
        ("p3d_resnet18", "resnet50", r"of another shape \(layer1.0.conv1.weight \[64, 64, 1, 1\], expected "),
    ],
)
def test_inflation_from_another_network_raises(target: str, source: str, message: str) -> None:
    network = blank_network(target)
    for tensor in network.state_dict().values():
        tensor.zero_()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(model.WeightsError, match=message):
        model.inflate(network, make_network_2d(source).state_dict())
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_inflation_refuses_the_weights_of_a_3d_network() -> None:
    network = blank_network("c2d_resnet18")
    weights = {network.released_name(key): tensor for key, tensor in network.state_dict().items()}
    with pytest.raises(model.WeightsError, match=r"conv1.weight \[64, 3, 4, 7, 7\], expected \[64, 3, 7, 7\]"):
        model.inflate(network, weights)
