"""3D ResNets: one skeleton whose units, blocks, branches and depth come from tables, and its variants."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import torch.nn.functional as F
from torch import Tensor, nn

from layers.blocks import BasicBranch, Block, BottleneckBranch, MakeUnit, Stem
from layers.drop import drop_rates
from layers.frames import unfold_frames
from layers.norm import BATCH_NORMS
from layers.pooling import POOLINGS, average
from layers.units import PointwiseUnit, UnitStyle
from model.network import NetworkOptions, VideoNetwork
from utils.config.network_names import DUAL_HEAD_STRIDE, PUBLISHED_WIDTH


@dataclass(frozen=True)
class Backbone:
    """A 2D ResNet.

    Attributes:
        branch: Class of the residual branches.
        num_blocks: Number of blocks of each of the four stages.
        groups: Groups of the 3x3 convolutions.
        width_per_group: Channels per group inside a branch, for a stage of width 64; proportional to the width.
        stem: Builds the stem.
        norm_eps: Epsilon of every batch norm.
    """

    branch: type[BasicBranch] | type[BottleneckBranch]
    num_blocks: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64
    stem: Callable[..., Stem] = Stem
    norm_eps: float = 1e-5


@dataclass(frozen=True)
class Family:
    """How a 2D ResNet is extended to clips.

    Attributes:
        network: The skeleton or a variant of it.
        block: Class of the residual blocks.
        units: Classes that replace the 3x3 convolutions: block i, counted over all stages, has units[i % len(units)].
        has_grouped_time: Whether temporal convolutions have as many groups as the spatial ones; else 1.
        stem_dims: 3 for a stem on clips, 2 for a stem on images.
        dims: 3 or 2, likewise, for all layers after the stem.
        norm_eps: Epsilon of every batch norm; None: that of the 2D network.
        first_norm_eps: Epsilon of the first batch norm; None: that of the others.
    """

    network: type["ResNet3D"]
    block: type[Block]
    units: tuple[MakeUnit, ...]
    has_grouped_time: bool = False
    stem_dims: int = 3
    dims: int = 3
    norm_eps: float | None = None
    first_norm_eps: float | None = None


@dataclass(frozen=True)
class StageMaker:
    """Builds the four stages (0 to 3) of a network.

    Attributes:
        family: How the backbone is extended to clips.
        backbone: The 2D ResNet.
        base_width: Width of the first stage, channels; it doubles with every stage.
        stem_channels: Channels of the first stage's input.
        style: Style of all units.
        stochastic_depth: Drop rate of the last block's branch, in [0, 1); linear from 0 at the first block.
    """

    family: Family
    backbone: Backbone
    base_width: int
    stem_channels: int
    style: UnitStyle
    stochastic_depth: float = 0.0

    def out_channels(self, stage: int) -> int:
        """Return the number of channels of a stage's output."""
        return self.base_width * 2**stage * self.backbone.branch.expansion

    def make(self, stage: int, *, stride: int) -> nn.Sequential:
        """Build a stage; `stride` is the spatial stride of its first block."""
        in_channels = self.out_channels(stage - 1) if stage else self.stem_channels
        first = sum(self.backbone.num_blocks[:stage])
        blocks = [self._block(stage, number=first, in_channels=in_channels, stride=stride)]
        for number in range(first + 1, first + self.backbone.num_blocks[stage]):
            blocks.append(self._block(stage, number=number, in_channels=self.out_channels(stage), stride=1))
        return nn.Sequential(*blocks)

    def _block(self, stage: int, *, number: int, in_channels: int, stride: int) -> Block:
        """Build block `number`, counted over all stages of the network."""
        out_channels = self.out_channels(stage)
        width_per_group = self.base_width * 2**stage * self.backbone.width_per_group // PUBLISHED_WIDTH
        width = max(1, width_per_group) * self.backbone.groups
        unit = self.family.units[number % len(self.family.units)]
        branch = self.backbone.branch(in_channels, width, out_channels, stride=stride, unit=unit, style=self.style)
        shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            shortcut = PointwiseUnit(
                in_channels, out_channels, stride=stride, norm=self.style.norm, dims=self.style.dims
            )
        rate = drop_rates(self.stochastic_depth, sum(self.backbone.num_blocks))[number]
        return self.family.block(branch, shortcut, in_channels=in_channels, out_channels=out_channels, drop_rate=rate)


class ResNet3D(VideoNetwork):
    """The skeleton: stem, four stages, global pooling, dropout, classifier; only the stem has a temporal stride."""

    stages = ("stem", "layer1", "layer2", "layer3", "layer4")
    released_rules = (
        (r"^stem\.", ""),
        (r"\.branch\.", "."),
        (r"\bunit(\d)\.spatial\.", r"conv\1."),
        (r"\bunit(\d)\.temporal\.", r"conv\1_t."),
        (r"\bunit(\d)\.norm\.", r"bn\1."),
        (r"\.shortcut\.spatial\.", ".downsample.0."),
        (r"\.shortcut\.norm\.", ".downsample.1."),
    )

    def __init__(self, family: Family, backbone: Backbone, options: NetworkOptions) -> None:
        """Build the network with random weights from torch's global generator."""
        super().__init__()
        eps = family.norm_eps or backbone.norm_eps
        style = UnitStyle(
            groups=backbone.groups,
            temporal_groups=backbone.groups if family.has_grouped_time else 1,
            norm=partial(BATCH_NORMS[family.dims], eps=eps),
            dims=family.dims,
        )
        first_norm = partial(BATCH_NORMS[family.stem_dims], eps=family.first_norm_eps or eps)
        self.min_clip_frames = options.early_stride
        self.stem = backbone.stem(
            options.in_channels,
            options.base_width,
            early_stride=options.early_stride,
            style=style,
            first_style=replace(style, norm=first_norm, dims=family.stem_dims),
        )
        stages = StageMaker(
            family, backbone, options.base_width, self.stem.out_channels, style, options.stochastic_depth or 0.0
        )
        self.layer1 = stages.make(0, stride=1)
        self.layer2 = stages.make(1, stride=2)
        self.layer3 = stages.make(2, stride=2)
        self.layer4 = stages.make(3, stride=2)
        self.pool = POOLINGS[options.pooling_name]
        self.dropout = nn.Dropout(options.dropout_ratio)
        self.fc = nn.Linear(stages.out_channels(3), options.num_classes)
        self.add_heads(stages, options)

    def add_heads(self, stages: StageMaker, options: NetworkOptions) -> None:
        """Build the layers that a variant adds to the skeleton; none here."""

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> ([N, num_classes],)."""
        self.check_clips(clips)
        return (self.fc(self.dropout(self.pool(self.body(self.stem(clips))))),)

    def body(self, x: Tensor) -> Tensor:
        """Apply the four stages."""
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the residual blocks of all stages."""
        return chain(self.layer1, self.layer2, self.layer3, self.layer4)


class SequenceResNet(ResNet3D):
    """A 3D first unit, then a 2D network on every frame, and pooling over all frames at once."""

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> ([N, num_classes],)."""
        self.check_clips(clips)
        features = self.body(self.stem(clips))
        features = unfold_frames(features, frames=features.shape[0] // clips.shape[0])
        return (self.fc(self.dropout(self.pool(features))),)


class ImageResNet(ResNet3D):
    """The 2D network itself, on images [N, C, H, W]; torchvision's, except for the depth of 103."""

    def check_clips(self, clips: Tensor) -> None:
        """Accept everything: images have no frames to count."""


class DualHeadResNet3D(ResNet3D):
    """DG: a parallel last stage on a quarter of the frames at twice the resolution, with its own classifier."""

    classifier_names = ("fc", "fc_dual")

    def add_heads(self, stages: StageMaker, options: NetworkOptions) -> None:
        """Build the parallel last stage, with the same units as the first one, and its classifier."""
        self.min_clip_frames = options.early_stride * DUAL_HEAD_STRIDE
        self.layer4_dual = stages.make(3, stride=1)
        self.fc_dual = nn.Linear(stages.out_channels(3), options.num_classes)

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> two of [N, num_classes]: all frames, a quarter at twice the resolution."""
        self.check_clips(clips)
        features = self.layer3(self.layer2(self.layer1(self.stem(clips))))
        full = self.layer4(features)
        strided = self.layer4_dual(F.max_pool3d(features, (DUAL_HEAD_STRIDE, 1, 1)))
        return self.fc(self.dropout(self.pool(full))), self.fc_dual(self.dropout(self.pool(strided)))

    def source_name(self, name: str) -> str:
        """Return the name in the 2D network, whose last stage both last stages are inflated from."""
        return super().source_name(name).replace("layer4_dual.", "layer4.")

    def repeated_blocks(self) -> Iterable[nn.Module]:
        """Return the residual blocks of all stages, including both last stages."""
        return chain(super().repeated_blocks(), self.layer4_dual)


class DiffusionResNet3D(ResNet3D):
    """LGD: a local feature map and a global vector; the vector's classifier is used in training only."""

    classifier_names = ("fc", "fc_g")

    def add_heads(self, stages: StageMaker, options: NetworkOptions) -> None:
        """Build the classifier of the global vector."""
        self.fc_g = nn.Linear(stages.out_channels(3), options.num_classes)

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Classify clips, [N, C, T, H, W] -> two of [N, num_classes]: local, global."""
        self.check_clips(clips)
        local = self.stem(clips)
        pair = (local, average(local))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            pair = stage(pair)
        local, vector = pair
        return self.fc(self.dropout(self.pool(local))), self.fc_g(self.dropout(vector))

    def fuse(self, heads: tuple[Tensor, ...]) -> Tensor:
        """Return the local head's logits, [N, num_classes]."""
        return heads[0]
