"""Networks for tests: the released names and shapes, tiny networks, and networks without random initialization."""

import contextlib
import json
import lzma
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import model
from layers.blocks import DiffusionBlock, GlobalContextBlock
from model.registry import BACKBONES, SCALES, VIT_CONFIGS
from model.s3d import MIXED
from utils.config.network_names import OTHERS, PUBLISHED_WIDTH, TORCHVISION, WIDTH, clip_limits, find_row

DATA = Path(__file__).parent / "data"

# Network name -> entry of the released state dict -> shape, for 400 classes and early_stride 4.
SHAPES: dict[str, dict[str, list[int]]] = json.loads(lzma.decompress((DATA / "network_shapes.json.xz").read_bytes()))

CLASSES = 11

# One network of every released family and kind: ResNet, EfficientNet, transformer.
RELEASED_FAMILIES = (
    "resnet18",
    "seq_resnet18",
    "c2d_resnet18",
    "i3d_resnet18",
    "r2p1d_resnet18",
    "p3d_resnet18",
    "p3da_resnet18",
    "p3db_resnet18",
    "p3dc_resnet18",
    "lgd_p3d_resnet18",
    "dg_p3d_resnet18",
    "eftnet_b0",
    "seq_eftnet_b0",
    "seq_p3d_eftnet_b0",
    "c2d_eftnet_b0",
    "vit_t_p16",
    "vit_deit_t_p16",
    "c2d_vit_t_p16",
    "s3d",
    "s3dg",
)
# One network of every family outside the released ones and torchvision's.
ADDED = tuple(str(name) for row in OTHERS for name in row.names[:: len(row.backbones)] if name.family != TORCHVISION)
FAMILIES = (*RELEASED_FAMILIES, *ADDED)


def min_clip_frames(name: str, early_stride: int) -> int:
    return clip_limits(name, early_stride).min_frames


def tiny_network(name: str, **options: object) -> Any:
    """Return a network with 8 channels in its first stage for clips of 32 x 32; always with the same weights."""
    torch.manual_seed(0)
    width = PUBLISHED_WIDTH if WIDTH in find_row(name).lacks else 8
    settings = {"num_classes": CLASSES, "early_stride": 1, "base_width": width, "image_size": 32} | options
    return model.create_model(name, **settings)  # type: ignore[arg-type]


def blank_network(name: str, **options: object) -> Any:
    """Return a network of full width with uninitialized weights: random ones would take most of the time."""
    settings = {"num_classes": CLASSES} | options
    with skip_initialization():
        return model.create_model(name, **settings)  # type: ignore[arg-type]


@contextlib.contextmanager
def skip_initialization() -> Iterator[None]:
    """Create networks without random initialization within the context."""
    names = ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "trunc_normal_", "xavier_uniform_")
    no_init: dict[str, Any] = dict.fromkeys(names, lambda weight, *_, **__: weight)
    with mock.patch.multiple("torch.nn.init", **no_init):
        yield


TINY_TRANSFORMERS = ("vit_t_p16", "vit_deit_t_p16")


@contextlib.contextmanager
def few_blocks() -> Iterator[None]:
    """Create the smallest networks without repeated blocks within the context, since tracing each block takes long.

    A ResNet has one block in each stage, with its first four units; an EfficientNet one for each kernel, stride and
    width; a transformer two; S3D one after every pooling.
    """
    with (
        mock.patch.dict(BACKBONES, resnet18=replace(BACKBONES["resnet18"], num_blocks=(1, 1, 1, 1))),
        mock.patch.dict(SCALES, eftnet_b0=replace(SCALES["eftnet_b0"], depth=0.25)),
        mock.patch.dict(VIT_CONFIGS, {name: replace(VIT_CONFIGS[name], depth=2) for name in TINY_TRANSFORMERS}),
        mock.patch.dict(MIXED, {name: MIXED[name] for name in ("3b", "4b", "5b")}, clear=True),
    ):
        yield


def tiny_clips(name: str, *, count: int = 2, channels: int = 3, early_stride: int = 1) -> torch.Tensor:
    """Return clips for `tiny_network`, of the least number of frames, but at least two."""
    generator = torch.Generator().manual_seed(1)
    frames = max(2, min_clip_frames(name, early_stride))
    return torch.randn(count, channels, frames, 32, 32, generator=generator)


def randomized_network(name: str, **options: Any) -> Any:
    """Return a tiny network in evaluation mode whose output depends on every layer and on the clip."""
    network = tiny_network(name, **options)
    size, channels = options.get("image_size", 32), options.get("in_channels", 3)
    frames = max(4, 2 * min_clip_frames(name, options.get("early_stride", 1)))
    return randomize_norms(network, torch.randn(4, channels, frames, size, size))


def randomize_norms(network: Any, example: torch.Tensor) -> Any:
    """Give batch norms random weights, and running statistics close to those of an example; set evaluation mode.

    Without matching statistics the output of a deep network hardly depends on its input.
    """
    for norm in _batch_norms(network):
        norm.momentum = 1.0
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, std=0.1)
    with torch.no_grad():
        network.train()(example)
    for norm in _batch_norms(network):
        norm.momentum = 0.1
        norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
        norm.running_var *= 0.8 + 0.4 * torch.rand_like(norm.running_var)
    return network.eval()


def zero_global_terms(network: Any) -> Any:
    """Zero the bias, a random constant, that the global terms of new LGD and DG networks add to their blocks."""
    for block in network.modules():
        if isinstance(block, GlobalContextBlock | DiffusionBlock):
            torch.nn.init.zeros_((block.fc2 if isinstance(block, GlobalContextBlock) else block.fc6).bias)
    return network


def _batch_norms(network: Any) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
