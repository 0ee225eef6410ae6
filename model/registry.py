"""The tables of families and backbones, and the networks made of a row of each."""

from dataclasses import replace

from layers.blocks import (
    BasicBranch,
    BottleneckBranch,
    DeepStem,
    DiffusionBlock,
    GlobalContextBlock,
    ResidualBlock,
)
from layers.units import C2DUnit, I3DUnit, P3DAUnit, P3DBUnit, P3DCUnit, R2P1DUnit
from model.network import NetworkOptions, VideoNetwork
from model.resnet3d import Backbone, DiffusionResNet3D, DualHeadResNet3D, Family, ResNet3D
from utils.errors import UserError
from utils.network_names import POOLING_NAMES, parse_name

_P3D_UNITS = (P3DAUnit, P3DBUnit, P3DCUnit)

FAMILIES = {
    "c2d": Family(ResNet3D, ResidualBlock, (C2DUnit,)),
    "i3d": Family(ResNet3D, ResidualBlock, (I3DUnit,)),
    "r2p1d": Family(ResNet3D, ResidualBlock, (R2P1DUnit,)),
    "p3d": Family(ResNet3D, ResidualBlock, _P3D_UNITS),
    "p3da": Family(ResNet3D, ResidualBlock, (P3DAUnit,)),
    "p3db": Family(ResNet3D, ResidualBlock, (P3DBUnit,)),
    "p3dc": Family(ResNet3D, ResidualBlock, (P3DCUnit,)),
    "lgd_p3d": Family(DiffusionResNet3D, DiffusionBlock, _P3D_UNITS),
    "dg_p3d": Family(DualHeadResNet3D, GlobalContextBlock, _P3D_UNITS, has_grouped_time=True),
}

_RESNET50 = Backbone(BottleneckBranch, (3, 4, 6, 3))
_RESNET101 = Backbone(BottleneckBranch, (3, 4, 23, 3))
_RESNET103 = replace(_RESNET101, stem=DeepStem, norm_eps=2e-5)

BACKBONES = {
    "resnet18": Backbone(BasicBranch, (2, 2, 2, 2)),
    "resnet34": Backbone(BasicBranch, (3, 4, 6, 3)),
    "resnet50": _RESNET50,
    "resnet101": _RESNET101,
    "resnet103": _RESNET103,
    "resnet152": Backbone(BottleneckBranch, (3, 8, 36, 3)),
    "resnext50_32x4d": replace(_RESNET50, groups=32, width_per_group=4),
    "resnext101_32x8d": replace(_RESNET101, groups=32, width_per_group=8),
    "resnext103_64x4d": replace(_RESNET103, groups=64, width_per_group=4),
    "wide_resnet50_2": replace(_RESNET50, width_per_group=128),
    "wide_resnet101_2": replace(_RESNET101, width_per_group=128),
}


def create_model(
    net_name: str,
    *,
    num_classes: int,
    early_stride: int = 4,
    dropout_ratio: float = 0.5,
    image_size: int = 224,
    pooling_name: str = "PoolingAverage",
    base_width: int = 64,
    in_channels: int = 3,
) -> VideoNetwork:
    """Build a network with random weights, drawn from torch's global generator.

    Args:
        net_name: One of utils.network_names.list_names().
        num_classes: Outputs of each classifier.
        early_stride: Frames that the stem takes to one.
        dropout_ratio: Dropout before each classifier.
        image_size: Height and width of a clip; ResNets take any size, whatever this says.
        pooling_name: How the last feature map becomes one vector, of utils.network_names.POOLING_NAMES.
        base_width: Channels of the first stage, 64 in the published networks.
        in_channels: Channels of a clip: 3 for colour, 2 for optical flow.

    Raises:
        UserError: There is no such network (UnknownNetworkError, with the nearest names) or pooling.
    """
    name = parse_name(net_name)
    if pooling_name not in POOLING_NAMES:
        raise UserError(f"no pooling is called {pooling_name!r}; there are {', '.join(POOLING_NAMES)}")
    options = NetworkOptions(
        num_classes=num_classes,
        early_stride=early_stride,
        dropout_ratio=dropout_ratio,
        image_size=image_size,
        pooling_name=pooling_name,
        base_width=base_width,
        in_channels=in_channels,
    )
    family = FAMILIES[name.family]
    return family.network(family, BACKBONES[name.backbone], options)
