"""S3D and S3D-G (Xie et al., ECCV 2018): an Inception network with separable space-time convolutions."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.blocks import as_feature_map, max_pool_space
from layers.norm import BatchNorm3d
from layers.pooling import POOLINGS, average
from layers.units import (
    IMAGE_CHANNELS,
    PointwiseUnit,
    Unit,
    UnitChain,
    identity_kernel,
    inflate_first_kernel,
    make_conv,
)
from model.network import NetworkOptions, VideoNetwork
from utils.config.network_names import PUBLISHED_WIDTH

# Output channels of the units (b0, b1a, b1, b2a, b2, b3) of each mixed block.
MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
# The released code has every layer under a second name, by its position in a stage.
_SECOND_NAMES = {
    "Conv_1a": "block1.0",
    "Conv_2b": "block2.1",
    "Conv_2c": "block2.2",
    "Mixed_3b": "block3.1",
    "Mixed_3c": "block3.2",
    **{f"Mixed_4{letter}": f"block4.{number}" for number, letter in enumerate("bcdef", start=1)},
    "Mixed_5b": "block5.1",
    "Mixed_5c": "block5.2",
}


class SeparableUnit(Unit):
    """norm(temporal(spatial(x))): a 1 x size x size, then a size x 1 x 1 convolution, both strided."""

    def __init__(self, in_channels: int, out_channels: int, *, size: int = 3, stride: int = 1) -> None:
        """Build the unit; `stride` is spatial and temporal."""
        spatial = make_conv(in_channels, out_channels, kernel=(1, size, size), stride=(1, stride, stride))
        super().__init__(spatial, out_channels, norm=BatchNorm3d)
        padding = (size // 2, 0, 0)
        self.temporal = make_conv(
            out_channels, out_channels, kernel=(size, 1, 1), stride=(stride, 1, 1), padding=padding
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T/stride, H/stride, W/stride], before the activation."""
        return self.norm(self.temporal(self.spatial(x)))

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Return the 2D kernel and an identity temporal kernel."""
        return {
            "spatial.weight": inflate_first_kernel(kernel, self.spatial.weight.shape),
            "temporal.weight": identity_kernel(self.temporal.weight),
        }


class SeparableStem(SeparableUnit):
    """The first unit: kernels 1x7x7 and 7x1x1, stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Build the unit for clips of `in_channels` channels."""
        super().__init__(in_channels, out_channels, size=7, stride=2)
        self.shape_2d = (out_channels, IMAGE_CHANNELS, 7, 7)


class Gate(nn.Module):
    """Multiplies each channel by a gate, a function of the global means of all channels."""

    def __init__(self, channels: int) -> None:
        """Build the gate for `channels` channels."""
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, T, H, W] -> the same."""
        return x * as_feature_map(self.fc(average(x)).sigmoid())


MakeGate = Callable[[int], nn.Module]


class MixedBlock(nn.Module):
    """Inception block of four concatenated branches, each with its own gate in S3D-G."""

    def __init__(self, in_channels: int, widths: Sequence[int], *, gate: MakeGate) -> None:
        """Build the block; `widths` as in MIXED, `gate` builds the gate for a number of channels."""
        super().__init__()
        b0, b1a, b1, b2a, b2, b3 = widths
        self.branch0 = UnitChain(PointwiseUnit(in_channels, b0))
        self.branch1 = UnitChain(PointwiseUnit(in_channels, b1a), SeparableUnit(b1a, b1))
        self.branch2 = UnitChain(PointwiseUnit(in_channels, b2a), SeparableUnit(b2a, b2))
        self.branch3 = UnitChain(PointwiseUnit(in_channels, b3))
        self.out_channels = b0 + b1 + b2 + b3
        self.gating_b0, self.gating_b1, self.gating_b2, self.gating_b3 = (gate(width) for width in (b0, b1, b2, b3))

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, T, H, W] -> [N, out_channels, T, H, W]."""
        pooled = F.max_pool3d(x, 3, stride=1, padding=1)
        parts = (self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(pooled))
        gates = (self.gating_b0, self.gating_b1, self.gating_b2, self.gating_b3)
        return torch.cat([gate(F.relu_(part)) for gate, part in zip(gates, parts, strict=True)], dim=1)


class S3D(VideoNetwork):
    """Stem, nine mixed blocks, global pooling, dropout, classifier.

    The stem and the pooling before block 4b halve the number of frames; `early_stride` is ignored.
    """

    stages = ("conv_1", "conv_2", *(rf"mixed\.{number}" for number in (3, 4, 5)))
    without_source = r"^fc|gating"
    released_rules = (
        (r"^conv_", "Conv_"),
        (r"^mixed\.", "Mixed_"),
        (r"branch3\.unit1\.", "branch3.1."),
        (r"\.unit1\.", ".0."),
        (r"\.unit2\.", ".1."),
        (r"(Conv_1a|Conv_2c|branch[12]\.1)\.spatial\.", r"\1.conv1."),
        (r"(Conv_1a|Conv_2c|branch[12]\.1)\.temporal\.", r"\1.conv2_t."),
        (r"(Conv_1a|Conv_2c|branch[12]\.1)\.norm\.", r"\1.bn1."),
        (r"\.spatial\.", ".conv."),
        (r"\.norm\.", ".bn."),
    )

    def __init__(self, options: NetworkOptions, *, gate: MakeGate = nn.Identity) -> None:
        """Build the network with random weights from torch's global generator."""
        super().__init__()
        self.min_clip_frames = 1

        def scaled(width: int) -> int:
            return max(1, width * options.base_width // PUBLISHED_WIDTH)

        self.conv_1a = SeparableStem(options.in_channels, scaled(64))
        self.conv_2b = PointwiseUnit(scaled(64), scaled(64))
        self.conv_2c = SeparableUnit(scaled(64), scaled(192))
        channels, self.mixed = scaled(192), nn.ModuleDict()
        for name, widths in MIXED.items():
            block = MixedBlock(channels, [scaled(width) for width in widths], gate=gate)
            self.mixed[name], channels = block, block.out_channels
        self.pool = POOLINGS[options.pooling_name]
        self.dropout = nn.Dropout(options.dropout_ratio)
        self.fc = nn.Linear(channels, options.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, std=0.01)  # as in the paper's code

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> ([N, num_classes],)."""
        self.check_clips(clips)
        x = max_pool_space(F.relu_(self.conv_1a(clips)))
        x = max_pool_space(F.relu_(self.conv_2c(F.relu_(self.conv_2b(x)))))
        for name, block in self.mixed.items():
            if name == "4b":
                x = F.max_pool3d(x, 3, stride=2, padding=1)
            elif name == "5b":
                x = F.max_pool3d(x, (1, 2, 2))
            x = block(x)
        return (self.fc(self.dropout(self.pool(x))),)

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the mixed blocks."""
        return self.mixed.values()

    def released_names(self, name: str) -> tuple[str, ...]:
        """Return both released names of an entry: by its layer, and by the layer's position in a stage."""
        released = self.released_name(name)
        layer, _, rest = released.partition(".")
        return (released, f"{_SECOND_NAMES[layer]}.{rest}") if layer in _SECOND_NAMES else (released,)


S3DG = partial(S3D, gate=Gate)
