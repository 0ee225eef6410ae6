"""The tables of families and of 2D networks, and `create_model`, which builds a network from a row of each.

Other networks are found by way of the table of names (`utils.config.network_names.Row.home`).
"""

from dataclasses import replace

from layers import checkpointing
from layers.blocks import (
    BasicBranch,
    BottleneckBranch,
    DeepStem,
    DiffusionBlock,
    GlobalContextBlock,
    ResidualBlock,
)
from layers.units import C2DUnit, I3DUnit, P3DAUnit, P3DBUnit, P3DCUnit, R2P1DUnit
from model.efficientnet import ConvStyle, EfficientNet, Scale
from model.network import FrameNetwork, NetworkOptions, VideoNetwork
from model.resnet3d import (
    Backbone,
    DiffusionResNet3D,
    DualHeadResNet3D,
    Family,
    ImageResNet,
    ResNet3D,
    SequenceResNet,
)
from model.torchvision_networks import TorchvisionNetwork
from model.vit import VisionTransformer, VitConfig
from utils.config.network_names import (
    FRAMES,
    POOLING_NAMES,
    TORCHVISION,
    find_row,
    list_unsupported,
    parse_name,
)
from utils.errors import UserError
from utils.parts import find_part

_P3D_UNITS = (P3DAUnit, P3DBUnit, P3DCUnit)

FAMILIES = {
    FRAMES: Family(ImageResNet, ResidualBlock, (C2DUnit,), stem_dims=2, dims=2),
    # As in the released code, their depth of 103 has the other depths' epsilon: seq in the first norm, c2d in all.
    "seq": Family(SequenceResNet, ResidualBlock, (C2DUnit,), dims=2, first_norm_eps=1e-5),
    "c2d": Family(ResNet3D, ResidualBlock, (C2DUnit,), norm_eps=1e-5),
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


SCALES = {
    f"eftnet_b{number}": Scale(width, depth)
    for number, (width, depth) in enumerate(
        [(1, 1), (1, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2, 3.1), (2.2, 3.6)]
    )
}

_TINY, _SMALL = VitConfig(width=192, depth=12, heads=3, patch=16), VitConfig(width=384, depth=12, heads=6, patch=16)
_BASE, _LARGE = VitConfig(width=768, depth=12, heads=12, patch=16), VitConfig(width=1024, depth=24, heads=16, patch=16)

VIT_CONFIGS = {
    "vit_t_p16": _TINY,
    "vit_s_p16": _SMALL,
    "vit_b_p16": _BASE,
    "vit_b_p32": replace(_BASE, patch=32),
    "vit_l_p16": _LARGE,
    "vit_l_p32": replace(_LARGE, patch=32),
    "vit_deit_t_p16": replace(_TINY, is_distilled=True),
    # Not DeiT's small network but the shallow, wide one that was published as "small" before it.
    "vit_deit_s_p16": VitConfig(
        width=768,
        depth=8,
        heads=8,
        patch=16,
        mlp_ratio=3,
        has_qkv_bias=False,
        is_distilled=True,
        is_scaled_by_width=True,
    ),
    "vit_deit_b_p16": replace(_BASE, is_distilled=True),
}

CONV_STYLES = {
    "seq": ConvStyle(stem_dims=3, dims=2),
    "seq_p3d": ConvStyle(stem_dims=3, dims=2, has_temporal=True),
    "c2d": ConvStyle(stem_dims=3, dims=3),
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
    stochastic_depth: float | None = None,
    checkpoint_blocks: bool = False,
) -> VideoNetwork:
    """Build a network with random weights, drawn from torch's global generator.

    Args:
        net_name: One of model.list_models().
        num_classes: Outputs of each classifier.
        early_stride: Temporal kernel size and stride of the stem; ignored by frame networks, S3D and torchvision's.
        dropout_ratio: Dropout probability before each classifier.
        image_size: Height and width of a clip, pixels, for position embeddings of transformers; others ignore it.
        pooling_name: Global pooling of the last feature map, one of utils.config.network_names.POOLING_NAMES.
        base_width: Channels of a ResNet's first stage, 64 in the published networks; other networks scale with it.
        in_channels: Channels of a clip: 3 for RGB, 2 for optical flow.
        stochastic_depth: Fraction of the clips that skip the last residual branch in training, in [0, 1); linear from 0
            at the first branch. None: the network's default, 0.2 for EfficientNets and 0 for other released networks.
        checkpoint_blocks: Checkpoint activations: the backward pass recomputes blocks; less memory, more time.

    Raises:
        UserError: The network (UnknownNetworkError, with the nearest names) or the pooling does not exist, or the
            network does not support an argument.
    """
    options = NetworkOptions(
        num_classes, early_stride, dropout_ratio, image_size, pooling_name, base_width, in_channels, stochastic_depth
    )
    network = _build(net_name, options)
    if checkpoint_blocks:
        checkpointing.checkpoint_blocks(network, network.repeated_blocks())
    return network


def _check_options(net_name: str, options: NetworkOptions) -> None:
    """Raise UserError for options that no network supports, or not this one."""
    if options.pooling_name not in POOLING_NAMES:
        raise UserError(f"no pooling is called {options.pooling_name!r}; there are {', '.join(POOLING_NAMES)}")
    for key, message in list_unsupported(
        net_name,
        pooling_name=options.pooling_name,
        base_width=options.base_width,
        stochastic_depth=options.stochastic_depth or 0.0,
        image_size=options.image_size,
    ):
        raise UserError(f"{key}: {message}")


def _build(net_name: str, options: NetworkOptions) -> VideoNetwork:
    name = parse_name(net_name)
    _check_options(net_name, options)
    if name.family == TORCHVISION:
        return TorchvisionNetwork(name.backbone, options)
    home = find_row(net_name).home
    own = find_part(home) if home else None
    if own is not None and not isinstance(own, Family | Backbone):
        return own(options)
    if own is None and name.backbone in VIT_CONFIGS:
        tubelet = options.early_stride if name.family == "c2d" else 0
        return FrameNetwork(
            VisionTransformer(VIT_CONFIGS[name.backbone], options, tubelet=tubelet), frames_per_image=tubelet
        )
    if own is None and name.backbone in SCALES:
        if name.family == FRAMES:
            image = EfficientNet(ConvStyle(stem_dims=2, dims=2), SCALES[name.backbone], options)
            return FrameNetwork(image)
        return EfficientNet(CONV_STYLES[name.family], SCALES[name.backbone], options)
    family = own if isinstance(own, Family) else FAMILIES[name.family]
    backbone = own if isinstance(own, Backbone) else BACKBONES[name.backbone]
    network = family.network(family, backbone, options)
    return FrameNetwork(network) if name.family == FRAMES else network
