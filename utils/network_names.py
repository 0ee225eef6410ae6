"""The names a record may give as `net_name`, and what can be said of them without building a network.

A name is `<family>_<backbone>`: the family says how a 2D network's convolutions become space-time ones, the backbone
which 2D network it is. The architectures themselves are the tables of `model.registry`. This module needs no torch.
"""

import difflib
from dataclasses import dataclass

from utils.errors import UserError

RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet103",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)

# Which family comes with which backbones.
_GRID = (
    (("c2d", "i3d", "r2p1d", "p3d", "p3da", "p3db", "p3dc", "lgd_p3d"), RESNETS),
    (("dg_p3d",), (*RESNETS, "resnext103_64x4d")),
)

# Temporal stride behind the stem, and so the frames a clip must have there: the second head of DG pools four to one.
DUAL_HEAD_STRIDE = 4
_LATE_STRIDES = {"dg_p3d": DUAL_HEAD_STRIDE}

# How the last feature map becomes one vector (`network.pooling_name`).
POOLING_NAMES = ("PoolingAverage", "PoolingMax")


class UnknownNetworkError(UserError):
    """No network has this name; the message lists the nearest ones."""


@dataclass(frozen=True)
class NetworkName:
    """A network's name in its two parts.

    Attributes:
        family: How space and time are convolved, e.g. "dg_p3d".
        backbone: The 2D network it extends, e.g. "resnet50"; the source of `model.inflate`.
    """

    family: str
    backbone: str

    def __str__(self) -> str:
        return f"{self.family}_{self.backbone}"


_NAMES = {
    str(name): name
    for families, backbones in _GRID
    for name in (NetworkName(family, backbone) for family in families for backbone in backbones)
}


def list_names() -> list[str]:
    """List every network name, family by family."""
    return list(_NAMES)


def parse_name(net_name: str) -> NetworkName:
    """Split a network's name into its parts.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    if net_name not in _NAMES:
        near = difflib.get_close_matches(net_name, _NAMES, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownNetworkError(f"no network is called {net_name!r}{hint} (families: {_families()})")
    return _NAMES[net_name]


def min_clip_frames(net_name: str, early_stride: int) -> int:
    """Give the number of frames a clip must have for this network, whose stem takes `early_stride` frames to one.

    Raises:
        UnknownNetworkError: No network has this name.
    """
    return early_stride * _LATE_STRIDES.get(parse_name(net_name).family, 1)


def _families() -> str:
    return ", ".join(dict.fromkeys(name.family for name in _NAMES.values()))
