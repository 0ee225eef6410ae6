"""Networks for tests: the released names and shapes, tiny networks, and building without drawing random weights."""

import json
import lzma
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import model

DATA = Path(__file__).parent / "data"

# Network name -> entry of the released state dict -> shape, for 400 classes and early_stride 4.
SHAPES: dict[str, dict[str, list[int]]] = json.loads(lzma.decompress((DATA / "network_shapes.json.xz").read_bytes()))

CLASSES = 11


def tiny_network(name: str, **options: object) -> Any:
    """A network of 8 channels in its first stage; the same weights every time."""
    torch.manual_seed(0)
    settings = {"num_classes": CLASSES, "early_stride": 1, "base_width": 8} | options
    return model.create_model(name, **settings)  # type: ignore[arg-type]


def blank_network(name: str, **options: object) -> Any:
    """A network of full width whose weights are whatever the memory held: drawing them takes most of the time."""
    settings = {"num_classes": CLASSES} | options
    drawing = mock.Mock()
    with mock.patch.multiple("torch.nn.init", kaiming_normal_=drawing, kaiming_uniform_=drawing, uniform_=drawing):
        return model.create_model(name, **settings)  # type: ignore[arg-type]
