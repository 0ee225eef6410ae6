"""EfficientNets (Tan and Le, ICML 2019) on images, on single frames after a 3D stem, and with 3D convolutions.

They load torchvision's weights but differ in the padding of strided convolutions (here TensorFlow's, as much as the map
needs, at even sizes more at the right and bottom; there the same on all sides), and in the batch norm's epsilon (here
1e-3; there 1e-5 for b0 to b4). On feature maps of odd sizes only the epsilon makes a difference.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from layers.convolutions import Conv2d
from layers.drop import DropPath
from layers.frames import fold_frames, unfold_frames
from layers.norm import BATCH_NORMS
from layers.pooling import POOLINGS
from layers.units import Conv, PointwiseUnit, StemUnit, Unit, identity_kernel, make_conv
from model.network import NetworkOptions, VideoNetwork, rename
from utils.config.network_names import PUBLISHED_WIDTH

# Expansion, output channels, kernel size, stride and repeats of the seven stages, at width and depth 1.
STAGES = (
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
STOCHASTIC_DEPTH = 0.2


@dataclass(frozen=True)
class Scale:
    """Factors of the number of channels (width) and of the repeats of a stage (depth)."""

    width: float
    depth: float


@dataclass(frozen=True)
class ConvStyle:
    """How an EfficientNet is extended to clips.

    Attributes:
        stem_dims: 3 for a stem on clips, 2 for a stem on images.
        dims: 3 or 2, likewise, for all layers after the stem.
        has_temporal: Whether depthwise convolutions are followed by temporal ones.
    """

    stem_dims: int
    dims: int
    has_temporal: bool = False


def round_channels(channels: float) -> int:
    """Return `channels` rounded to a multiple of 8, by at most 10% downwards."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class PaddedUnit(Unit):
    """Depthwise unit with TensorFlow's "same" padding, which depends on the height and width of the map."""

    def __init__(self, channels: int, *, size: int, stride: int, norm: Callable[[int], nn.Module], dims: int) -> None:
        """Build the unit with a kernel of size x size and a spatial stride."""
        conv = make_conv(
            channels,
            channels,
            kernel=(1, size, size),
            stride=(1, stride, stride),
            groups=channels,
            dims=dims,
            padding=(0, 0, 0),
        )
        super().__init__(conv, channels, norm=norm)

    def forward(self, x: Tensor, _frames: int = 1) -> Tensor:
        """[N, C, (T,) H, W] -> [N, C, (T,) H/stride, W/stride], before the activation."""
        return self.norm(self.spatial(pad_same(x, self.spatial)))


class TemporalUnit(PaddedUnit):
    """PaddedUnit on frames folded into the batch, followed by a depthwise convolution over 3 frames."""

    def __init__(self, channels: int, *, size: int, stride: int, norm: Callable[[int], nn.Module], dims: int) -> None:
        """Build the unit; arguments as in PaddedUnit."""
        super().__init__(channels, size=size, stride=stride, norm=norm, dims=dims)
        # A 2D convolution over [N, C, T, H x W].
        self.temporal = Conv2d(channels, channels, (3, 1), padding=(1, 0), groups=channels, bias=False)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """[N x frames, C, H, W] -> [N x frames, C, H/stride, W/stride], before the activation."""
        clips = unfold_frames(self.spatial(pad_same(x, self.spatial)), frames=frames)
        mixed = self.temporal(clips.flatten(3)).unflatten(3, clips.shape[3:])
        return self.norm(fold_frames(mixed))

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Return the 2D kernel and an identity temporal kernel."""
        return super().inflated(kernel) | {"temporal.weight": identity_kernel(self.temporal.weight)}


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (Hu et al., CVPR 2018): gates each channel by a function of all channels' means."""

    def __init__(self, channels: int, *, hidden: int, dims: int) -> None:
        """Build the gate, with `hidden` channels in its bottleneck."""
        super().__init__()
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        self.reduce = conv(channels, hidden, 1)
        self.expand = conv(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, (T,) H, W] -> the same shape; the means are over time and space."""
        means = x.mean(dim=tuple(range(2, x.dim())), keepdim=True)
        return x * self.expand(F.silu(self.reduce(means))).sigmoid()


class InvertedBlock(nn.Module):
    """Expansion, depthwise unit, squeeze-and-excitation, projection; residual if input and output shapes agree."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: int,
        size: int,
        stride: int,
        style: ConvStyle,
        drop_rate: float,
    ) -> None:
        """Build the block; `size` and `stride` are those of the depthwise unit."""
        super().__init__()
        norm, dims = make_norm(style.dims), style.dims
        wide = in_channels * expansion
        self.expand = PointwiseUnit(in_channels, wide, norm=norm, dims=dims) if expansion > 1 else None
        unit = TemporalUnit if style.has_temporal else PaddedUnit
        self.depthwise = unit(wide, size=size, stride=stride, norm=norm, dims=dims)
        self.excite = SqueezeExcite(wide, hidden=max(1, in_channels // 4), dims=dims)
        self.project = PointwiseUnit(wide, out_channels, norm=norm, dims=dims)
        self.drop_path = DropPath(drop_rate)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[N, in_channels, (T,) H, W] -> [N, out_channels, (T,) H/stride, W/stride].

        `frames` is the number of frames of a clip where frames are folded into the batch; else it is ignored.
        """
        wide = x if self.expand is None else F.silu(self.expand(x))
        wide = self.excite(F.silu(self.depthwise(wide, frames)))
        branch = self.project(wide)
        return x + self.drop_path(branch) if self.is_residual else branch


class EfficientNet(VideoNetwork):
    """Stem, inverted residual blocks, head, global pooling, dropout, classifier."""

    released_rules = (
        (r"^stem\.spatial\.", "_conv_stem."),
        (r"^stem\.norm\.", "_bn0."),
        (r"^head\.spatial\.", "_conv_head."),
        (r"^head\.norm\.", "_bn1."),
        (r"^blocks\.", "_blocks."),
        (r"\.expand\.spatial\.", "._expand_conv."),
        (r"\.expand\.norm\.", "._bn0."),
        (r"\.depthwise\.spatial\.", "._depthwise_conv."),
        (r"\.depthwise\.temporal\.", "._depthwise_conv_t.conv."),
        (r"\.depthwise\.norm\.", "._bn1."),
        (r"\.excite\.", "._se_"),
        (r"\.project\.spatial\.", "._project_conv."),
        (r"\.project\.norm\.", "._bn2."),
    )

    def __init__(self, style: ConvStyle, scale: Scale, options: NetworkOptions) -> None:
        """Build the network with random weights from torch's global generator."""
        super().__init__()
        self.style = style
        self.min_clip_frames = options.early_stride
        width = scale.width * options.base_width / PUBLISHED_WIDTH
        self.repeats = [math.ceil(scale.depth * repeats) for *_, repeats in STAGES]
        stem_channels = round_channels(STEM_CHANNELS * width)
        self.stem = PaddedStem(stem_channels, style=style, options=options)
        self.blocks, channels = self._make_blocks(stem_channels, width=width, options=options)
        firsts = [0, *accumulate(self.repeats)]
        inner = [rf"blocks\.({'|'.join(map(str, range(*pair)))})\b" for pair in pairwise(firsts)]
        self.stages = ("stem", *inner, "head")
        features = round_channels(HEAD_CHANNELS * width)
        self.head = PointwiseUnit(channels, features, norm=make_norm(style.dims), dims=style.dims)
        self.pool = POOLINGS[options.pooling_name]
        self.dropout = nn.Dropout(options.dropout_ratio)
        self.fc = nn.Linear(features, options.num_classes)
        for module in self.modules():
            if isinstance(module, Conv):
                module.reset_parameters()  # torch's default initialization, as in the paper's code

    def _make_blocks(self, channels: int, *, width: float, options: NetworkOptions) -> tuple[nn.ModuleList, int]:
        """Build the blocks of all stages for an input of `channels`; return them and the channels of their output."""
        rate = STOCHASTIC_DEPTH if options.stochastic_depth is None else options.stochastic_depth
        blocks = nn.ModuleList()
        for (expansion, out_channels, size, first_stride, _), repeats in zip(STAGES, self.repeats, strict=True):
            for number in range(repeats):
                block = InvertedBlock(
                    channels,
                    channels := round_channels(out_channels * width),
                    expansion=expansion,
                    size=size,
                    stride=first_stride if number == 0 else 1,
                    style=self.style,
                    drop_rate=rate * len(blocks) / sum(self.repeats),
                )
                blocks.append(block)
        return blocks, channels

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> ([N, num_classes],); an image network takes [N, C, H, W]."""
        is_sequence = (self.style.stem_dims, self.style.dims) == (3, 2)
        if self.style.stem_dims == 3:
            self.check_clips(clips)
        x = F.silu(self.stem(clips))
        frames = x.shape[2]
        x = fold_frames(x) if is_sequence else x
        for block in self.blocks:
            x = block(x, frames)
        x = F.silu(self.head(x))
        x = unfold_frames(x, frames=frames) if is_sequence else x
        return (self.fc(self.dropout(self.pool(x))),)

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the inverted residual blocks."""
        return self.blocks

    def torchvision_name(self, released: str) -> str:
        """Return torchvision's name, which numbers blocks within their stage and layers within their block."""
        return self._name_by_stages(released, _TORCHVISION)

    def public_names(self, released: str) -> tuple[str, ...]:
        """Return the names in files of EfficientNet-PyTorch, which the released code follows, and of timm."""
        return rename(released, ((r"^fc\.", "_fc."),)), self._name_by_stages(released, _TIMM)

    def _name_by_stages(self, released: str, naming: "_Naming") -> str:
        match = re.match(r"_blocks\.(\d+)\.(\w+?)\.(?=\w+$)", released)
        if not match:
            ends = dict(zip(_ENDS, naming.ends, strict=True))
            layer, _, entry = released.partition(".")
            return f"{ends.get(layer, layer)}.{entry}"
        number, stage = int(match[1]), 0
        while number >= self.repeats[stage]:
            number -= self.repeats[stage]
            stage += 1
        layers = naming.layers if stage else naming.first_layers  # the first stage's blocks have no expansion
        layer = dict(zip(_LAYERS, layers, strict=True))[match[2]]
        return f"{naming.block.format(stage, stage + 1, number)}.{layer}.{released[match.end() :]}"


@dataclass(frozen=True)
class _Naming:
    """Names of another project for the released code's layers.

    Attributes:
        ends: Names of _ENDS, in their order.
        block: Format of a block's name, from its stage, stage + 1 and number in the stage.
        layers: Names of _LAYERS in a block, in their order.
        first_layers: The same for blocks of the first stage; "" for the layers that these do not have.
    """

    ends: tuple[str, ...]
    block: str
    layers: tuple[str, ...]
    first_layers: tuple[str, ...]


_ENDS = ("_conv_stem", "_bn0", "_conv_head", "_bn1", "fc")
_LAYERS = (
    *("_expand_conv", "_bn0", "_depthwise_conv", "_bn1"),
    *("_se_reduce", "_se_expand", "_project_conv", "_bn2"),
)  # fmt: skip
_TORCHVISION = _Naming(
    ends=("features.0.0", "features.0.1", "features.8.0", "features.8.1", "classifier.1"),
    block="features.{1}.{2}.block",
    layers=("0.0", "0.1", "1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1"),
    first_layers=("", "", "0.0", "0.1", "1.fc1", "1.fc2", "2.0", "2.1"),
)
_TIMM = _Naming(
    ends=("conv_stem", "bn1", "conv_head", "bn2", "classifier"),
    block="blocks.{0}.{2}",
    layers=("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3"),
    first_layers=("", "", "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2"),
)


class PaddedStem(StemUnit):
    """The first unit: 3x3 with stride 2 in space, padded like PaddedUnit."""

    def __init__(self, out_channels: int, *, style: ConvStyle, options: NetworkOptions) -> None:
        """Build the stem of a network with these options."""
        super().__init__(
            options.in_channels,
            out_channels,
            size=3,
            early_stride=options.early_stride,
            norm=make_norm(style.stem_dims),
            dims=style.stem_dims,
            padding=(0, 0, 0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, (T,) H, W] -> [N, C_out, (T/early_stride,) H/2, W/2], before the activation."""
        return super().forward(pad_same(x, self.spatial))


def make_norm(dims: int) -> Callable[[int], nn.Module]:
    """Return a function from channels to a batch norm with the settings of TensorFlow's EfficientNets."""
    return partial(BATCH_NORMS[dims], eps=1e-3, momentum=0.01)


def pad_same(x: Tensor, conv: Conv) -> Tensor:
    """Zero-pad maps, [..., H, W], such that `conv` outputs maps of ceil(H / stride) x ceil(W / stride)."""
    *_, height, width = conv.kernel_size
    *_, stride_y, stride_x = conv.stride
    vertical = same_padding(x.shape[-2], kernel=height, stride=stride_y)
    horizontal = same_padding(x.shape[-1], kernel=width, stride=stride_x)
    return F.pad(x, (*horizontal, *vertical))


def same_padding(size: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding (before, after) with which a convolution reduces `size` pixels to ceil(size / stride)."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2
