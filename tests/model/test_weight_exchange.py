"""Weights under other names: export and loading, torchvision's files of image networks, other image sizes."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import model
from model.build import network_arguments
from model.vit import resize_positions
from tests import forked
from tests.conftest import MakeRecord
from tests.networks import (
    CLASSES,
    FAMILIES,
    RELEASED_FAMILIES,
    SHAPES,
    blank_network,
    randomize_norms,
    randomized_network,
    skip_initialization,
    tiny_clips,
    tiny_network,
)
from utils.torchvision_import import import_torchvision

CLOSE: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4}


def heads_of(network: model.VideoNetwork, clips: Tensor) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        return network.eval()(clips)


@pytest.mark.parametrize("name", FAMILIES)
def test_exported_weights_make_an_equal_network(name: str) -> None:
    network = randomized_network(name)
    released = model.export_weights(network)
    if name in RELEASED_FAMILIES:
        assert released.keys() == SHAPES[name].keys()
    for weights in (released, network.state_dict()):
        other = tiny_network(name)
        for weight in other.parameters():
            nn.init.zeros_(weight)
        model.load_weights(other, weights)
        clips = tiny_clips(name)
        for a, b in zip(heads_of(network, clips), heads_of(other, clips), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_unexpected_or_missing_entry_is_named(name: str) -> None:
    network = tiny_network(name)
    weights = model.export_weights(network)
    missing = network.released_name(f"{network.classifier_names[0]}.weight")
    for wrong in ({**weights, "other.weight": torch.zeros(1)}, {k: t for k, t in weights.items() if k != missing}):
        with pytest.raises(model.WeightsError, match=r"other.weight|1 missing"):
            model.load_weights(network, wrong)


def test_either_of_the_two_names_of_s3d_is_enough_and_the_second_one_counts() -> None:
    network = randomized_network("s3d")
    both = model.export_weights(network)
    second = [key for key in both if key.startswith("block")]
    first = [key for key in both if key.startswith(("Conv", "Mixed"))]
    assert len(first) == len(second) == len(both) // 2 - 1  # the classifier's two entries have one name
    clips = tiny_clips("s3d")
    for ignored in (first, second):
        other = tiny_network("s3d")
        model.load_weights(other, {key: tensor for key, tensor in both.items() if key not in ignored})
        assert torch.equal(heads_of(other, clips)[0], heads_of(network, clips)[0])
    model.load_weights(other, both | {key: torch.zeros_like(both[key]) for key in first})
    assert torch.equal(heads_of(other, clips)[0], heads_of(network, clips)[0])


def test_torchvision_resnet_is_the_frame_network() -> None:
    network_2d = import_torchvision().models.resnext50_32x4d(num_classes=CLASSES)
    randomize_norms(network_2d, torch.randn(4, 3, 64, 64))
    network = tiny_network("resnext50_32x4d", base_width=64)
    model.load_weights(network, network_2d.state_dict())
    clips = torch.randn(2, 3, 2, 64, 64)
    with torch.inference_mode():
        expected = torch.stack([network_2d(clips[:, :, frame]) for frame in range(2)]).mean(0)
    torch.testing.assert_close(heads_of(network, clips)[0], expected, **CLOSE)


def test_torchvision_efficientnet_is_the_frame_network_where_maps_have_odd_sizes() -> None:
    """At 33, 17, 9, 5, 3 pixels padding is the same on both sides; at 32 it is not, and the outputs differ."""
    models = import_torchvision().models
    norm = partial(nn.BatchNorm2d, eps=1e-3)
    torch.manual_seed(4)
    network_2d = models.efficientnet_b0(num_classes=CLASSES, norm_layer=norm)
    randomize_norms(network_2d, torch.randn(8, 3, 32, 32))
    for size, agrees in ((33, True), (32, False)):
        network = tiny_network("eftnet_b0", base_width=64, image_size=size)
        model.load_weights(network, network_2d.state_dict())
        clips = torch.randn(2, 3, 1, size, size)
        with torch.inference_mode():
            expected = network_2d(clips[:, :, 0])
        assert torch.allclose(heads_of(network, clips)[0], expected, atol=1e-4, rtol=1e-4) is agrees


def tensorflow_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's "same" padding: the least that gives ceil(size / stride) pixels, the larger half after."""
    total = next(pad for pad in range(kernel + 1) if (size + pad - kernel) // stride + 1 >= -(-size // stride))
    return total // 2, total - total // 2


def pad_as_tensorflow(network: nn.Module) -> set[tuple[int, int]]:
    """Use TensorFlow's padding in every convolution of torchvision's network; return their (kernel, stride)."""
    kinds = set()

    def pad(conv: Any, inputs: tuple[Tensor]) -> Tensor:
        (height, width), kernel, stride = inputs[0].shape[-2:], conv.kernel_size[0], conv.stride[0]
        sides = tensorflow_padding(width, kernel, stride) + tensorflow_padding(height, kernel, stride)
        return nn.functional.pad(inputs[0], sides)

    for conv in network.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size != (1, 1):
            conv.padding = (0, 0)
            conv.register_forward_pre_hook(pad)
            kinds.add((conv.kernel_size[0], conv.stride[0]))
    return kinds


@pytest.fixture(scope="module")
def tensorflow_efficientnet() -> Any:
    """Return torchvision's b0 with TensorFlow's padding, in evaluation mode and float64."""
    torch.manual_seed(4)
    norm = partial(nn.BatchNorm2d, eps=1e-3)
    network_2d = import_torchvision().models.efficientnet_b0(num_classes=CLASSES, norm_layer=norm)
    assert pad_as_tensorflow(network_2d) == {(3, 1), (3, 2), (5, 1), (5, 2)}
    return randomize_norms(network_2d, torch.randn(8, 3, 32, 32)).double()


@pytest.mark.parametrize("name", ["eftnet_b0", "c2d_eftnet_b0", "seq_eftnet_b0", "seq_p3d_eftnet_b0"])
def test_efficientnets_pad_for_the_size_of_their_input(tensorflow_efficientnet: Any, name: str) -> None:
    """At every size they equal TensorFlow's network, whatever their image_size; here 32, with an early stride of 2."""
    torch.manual_seed(0)
    network = blank_network(name, image_size=32, early_stride=2).double()
    model.inflate(network, tensorflow_efficientnet.state_dict())
    network.get_submodule(network.classifier_names[0]).load_state_dict(
        tensorflow_efficientnet.classifier[1].state_dict()
    )
    for height, width in ((32, 32), (48, 48), (33, 33), (40, 58), (7, 2), (1, 17)):
        images = torch.randn(2, 3, height, width).double()
        with torch.inference_mode():
            expected = tensorflow_efficientnet(images)
        found = heads_of(network, images.unsqueeze(2).repeat(1, 1, 4, 1, 1))[0]
        message = partial("{}: {}".format, (height, width))
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-8, msg=message)


@pytest.mark.parametrize("number", range(8))
def test_torchvision_efficientnets_have_the_layers_of_ours(number: int) -> None:
    with torch.device("meta"), skip_initialization():
        network_2d = getattr(import_torchvision().models, f"efficientnet_b{number}")(num_classes=CLASSES)
        network = model.create_model(f"eftnet_b{number}", num_classes=CLASSES)
    names = {network.torchvision_name(network.released_name(key)): t for key, t in network.state_dict().items()}
    theirs = network_2d.state_dict()
    assert {key: t.shape for key, t in names.items()} == {key: t.shape for key, t in theirs.items()}


def tiny_vit(image_size: int) -> nn.Module:
    """Return torchvision's transformer with the width of a tiny vit_t_p16 and random weights in every layer."""
    torch.manual_seed(2)
    vit = import_torchvision().models.VisionTransformer(
        image_size=image_size,
        patch_size=16,
        num_layers=12,
        num_heads=3,
        hidden_dim=24,
        mlp_dim=96,
        num_classes=CLASSES,
    )
    for weight in vit.parameters():
        nn.init.normal_(weight, std=0.2)
    return vit.eval()


def test_torchvision_vit_is_the_frame_network() -> None:
    network_2d = tiny_vit(32)
    network = tiny_network("vit_t_p16")
    model.load_weights(network, network_2d.state_dict())
    clips = torch.randn(2, 3, 3, 32, 32)
    with torch.inference_mode():
        expected = torch.stack([network_2d(clips[:, :, frame]) for frame in range(3)]).mean(0)
    torch.testing.assert_close(heads_of(network, clips)[0], expected, **CLOSE)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("seq_resnet18", lambda: import_torchvision().models.resnet18(num_classes=1000)),
        ("c2d_eftnet_b0", lambda: import_torchvision().models.efficientnet_b0(num_classes=1000)),
        ("seq_p3d_eftnet_b0", lambda: import_torchvision().models.efficientnet_b0(num_classes=1000)),
        ("c2d_vit_t_p16", lambda: tiny_vit(64)),
    ],
)
def test_torchvision_files_inflate_as_the_released_names_do(name: str, make: object) -> None:
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in make().state_dict().items()}  # type: ignore[operator]
    network_2d = {key: torch.randn(shape).abs() for key, shape in shapes.items()}
    network = tiny_network(name, base_width=8 if "vit" in name else 64, image_size=64)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    model.inflate(network, network_2d)
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    kept = before.keys() - changed
    assert all("num_batches" in key or key.startswith(("fc.", "image.fc.")) for key in kept)


def bilinear_weights(count: int, size: int) -> Tensor:
    """Return the weights, [count, size], of bilinear resizing of `size` pixels to `count` pixels."""
    weights = torch.zeros(count, size, dtype=torch.float64)
    for i in range(count):
        place = min(max((i + 0.5) * size / count - 0.5, 0.0), size - 1.0)
        before = min(int(place), size - 2)
        weights[i, before], weights[i, before + 1] = before + 1 - place, place - before
    return weights


@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 3), (5, 5), (8, 8), (2, 7)])
@pytest.mark.parametrize("special", [1, 2])
def test_position_embeddings_are_interpolated_bilinearly(height: int, width: int, special: int) -> None:
    positions = torch.randn(1, special + 16, 6, dtype=torch.float64)
    patches = positions[0, special:].unflatten(0, (4, 4))
    expected = torch.einsum("yi,xj,ijc->yxc", bilinear_weights(height, 4), bilinear_weights(width, 4), patches).flatten(
        0, 1
    )
    found = resize_positions(positions, special=special, height=height, width=width)
    assert torch.equal(found[0, :special], positions[0, :special])
    torch.testing.assert_close(found[0, special:], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["vit_t_p16", "c2d_vit_t_p16"])
def test_position_embeddings_are_resized(name: str) -> None:
    """A file for 64 pixels in a network for 32: the 4 x 4 grid is resized to 2 x 2, the class token's is kept."""
    file = model.export_weights(tiny_network("vit_t_p16", image_size=64))
    ramp = torch.linspace(0, 3, 4)[:, None].expand(4, 4).reshape(1, 16, 1)  # increases from row to row
    file["pos_embed"] = torch.cat([torch.full((1, 1, 24), 7.0), ramp.expand(1, 16, 24)], dim=1)
    network = tiny_network(name, image_size=32)
    load = model.inflate if name.startswith("c2d") else model.load_weights
    load(network, file)
    positions = network.state_dict()["image.pos_embed"]
    assert positions.shape == (1, 5, 24)
    assert torch.all(positions[0, 0] == 7)
    rows = positions[0, 1:].reshape(2, 2, 24)
    torch.testing.assert_close(rows[:, 0], rows[:, 1])
    torch.testing.assert_close(rows.mean(), torch.tensor(1.5))
    assert 0.7 < (rows[1] - rows[0]).mean() / 2 < 1.3  # two rows instead of four: the slope per pixel is kept


def test_a_transformer_takes_other_image_sizes() -> None:
    network = tiny_network("c2d_vit_t_p16", image_size=32, early_stride=2).eval()
    larger = tiny_network("c2d_vit_t_p16", image_size=64, early_stride=2)
    model.load_weights(larger, network.state_dict())
    clips = torch.randn(1, 3, 4, 64, 64)
    torch.testing.assert_close(heads_of(network, clips)[0], heads_of(larger, clips)[0], **CLOSE)
    with pytest.raises(ValueError, match="images of 40 x 64 cannot be cut into patches of 16"):
        network(torch.randn(1, 3, 4, 40, 64))


@pytest.mark.parametrize("frames", [2, 5, 12])
def test_tubelet_transformers_take_shorter_and_longer_clips(frames: int) -> None:
    network = tiny_network("c2d_vit_t_p16", early_stride=2).eval()
    clips = torch.randn(1, 3, frames, 32, 32)
    pieces = [heads_of(network, clips[:, :, i : i + 2])[0] for i in range(0, frames - 1, 2)]
    torch.testing.assert_close(heads_of(network, clips)[0], torch.stack(pieces).mean(0), **CLOSE)


def test_export_command_writes_what_a_record_has_trained(make_record: MakeRecord, tmp_path: Path) -> None:
    from utils.config import load_config
    from utils.training.checkpoint import Position, load_tensors, save_checkpoint

    record = make_record(network={"net_name": "seq_p3d_eftnet_b0", "early_stride": 2})
    config = load_config(record)
    network = model.create_model(**network_arguments(config))
    save_checkpoint(config.weights_path, {"network": network.state_dict()}, position=Position())
    output = tmp_path / "released.pth"
    command = [sys.executable, "-m", "model.weights", "export", "--config_file", str(record), "--output", str(output)]
    done = forked.run(command, check=True)
    assert "set with it: dataset.mean=[0.485, 0.456, 0.406] dataset.std=[0.229, 0.224, 0.225]" in done.stdout
    released = load_tensors(output)
    assert released.keys() == SHAPES["seq_p3d_eftnet_b0"].keys()
    other = model.create_model(**network_arguments(config))
    model.load_weights(other, released)
    clips = torch.randn(1, 3, 8, 24, 24)
    assert torch.equal(heads_of(network, clips)[0], heads_of(other, clips)[0])
