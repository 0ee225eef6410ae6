"""Stems, residual branches and the blocks around them.

A block is relu(branch(x) + shortcut(x)); blocks with a global view add a term to that sum.
"""

from collections.abc import Callable
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from layers.drop import DropPath
from layers.frames import fold_frames
from layers.pooling import average
from layers.units import C2DUnit, PointwiseUnit, StemUnit, Unit, UnitChain, UnitStyle

MakeUnit = Callable[..., Unit]

# A block's width divided by the width of its fully connected bottleneck.
REDUCTION = 16


class Stem(UnitChain):
    """One 7x7 unit, ReLU and max-pooling: 1/early_stride of the frames, 1/4 of the height and width.

    Attributes:
        out_channels: Channels of the output.
    """

    size, widening = 7, 1  # of the first unit's kernel; of the base width by all units

    def __init__(
        self, in_channels: int, base_width: int, *, early_stride: int, style: UnitStyle, first: UnitStyle | None = None
    ) -> None:
        """Make the stem.

        Args:
            in_channels: Channels of the clip.
            base_width: Channels of the first unit.
            early_stride: Temporal kernel size and stride of the first unit.
            style: What the units of the network have in common.
            first: The same of the first unit, where it differs; frames are folded behind it if it alone is 3D.
        """
        begin = first or style
        unit = StemUnit(
            in_channels, base_width, size=self.size, early_stride=early_stride, norm=begin.norm, dims=begin.dims
        )
        super().__init__(unit, *self.make_others(base_width, style))
        self.out_channels = base_width * self.widening
        self.folds = begin.dims > style.dims

    @staticmethod
    def make_others(base_width: int, style: UnitStyle) -> tuple[Unit, ...]:
        """Return the units behind the first one: none."""
        del base_width, style
        return ()

    def forward(self, clips: Tensor) -> Tensor:
        """Make the first features; frames left over at the end are not seen.

        Args:
            clips: [N, C, T, H, W], or images [N, C, H, W].

        Returns:
            [N, out_channels, T/early_stride, H/4, W/4], or [N, out_channels, H/4, W/4] of images; where frames are
            folded [N x T/early_stride, out_channels, H/4, W/4].
        """
        first, *others = self
        x = F.relu_(first(clips))
        if self.folds:
            x = fold_frames(x)
        for unit in others:
            x = F.relu_(unit(x))
        return max_pool_space(x)


class DeepStem(Stem):
    """Three 3x3 units, the last of twice the width; the first one alone strides and sees several frames."""

    size, widening = 3, 2

    @staticmethod
    def make_others(base_width: int, style: UnitStyle) -> tuple[Unit, ...]:
        """Return two dense units."""
        dense = UnitStyle(norm=style.norm, dims=style.dims)
        return C2DUnit(base_width, base_width, style=dense), C2DUnit(base_width, 2 * base_width, style=dense)


def max_pool_space(x: Tensor) -> Tensor:
    """Maximum over 3 x 3 with stride 2, every frame alone: [N, C, (T,) H, W] -> [N, C, (T,) H/2, W/2]."""
    if x.dim() == 4:
        return F.max_pool2d(x, 3, stride=2, padding=1)
    return F.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


class BasicBranch(UnitChain):
    """Two 3x3 units (ResNet-18 and -34)."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, out_channels: int, *, stride: int, unit: MakeUnit, style: UnitStyle
    ) -> None:
        """Make the branch.

        Args:
            in_channels: Channels of the input.
            width: Channels inside.
            out_channels: Channels of the output.
            stride: Spatial stride.
            unit: Makes a 3x3 unit.
            style: What all units have in common.
        """
        # In front of the residual sum there is no activation, as in the 2D branch: neither behind nor in the last unit.
        last_style = replace(style, activation=_identity)
        super().__init__(
            unit(in_channels, width, stride=stride, style=style),
            unit(width, out_channels, style=last_style),
        )


class BottleneckBranch(UnitChain):
    """1x1, 3x3, 1x1 units; the 3x3 one strides, as torchvision's do."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, out_channels: int, *, stride: int, unit: MakeUnit, style: UnitStyle
    ) -> None:
        """Make the branch; arguments as those of BasicBranch."""
        super().__init__(
            PointwiseUnit(in_channels, width, norm=style.norm, dims=style.dims),
            unit(width, width, stride=stride, style=style),
            PointwiseUnit(width, out_channels, norm=style.norm, dims=style.dims),
        )


class Block(nn.Module):
    """What the blocks share: a residual branch, left out by chance in stochastic depth, and a shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, *, drop_rate: float = 0.0, **_channels: int) -> None:
        """Put the block together.

        Args:
            branch: The residual branch; its output is before the activation.
            shortcut: Identity, or a unit that brings the input to the shape of the branch's output.
            drop_rate: Fraction of the clips that skip the branch in training.
        """
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.drop_path = DropPath(drop_rate)


class ResidualBlock(Block):
    """relu(branch(x) + shortcut(x))."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, T, H, W] -> [N, out_channels, T, H/stride, W/stride]."""
        return F.relu_(self.drop_path(self.branch(x)) + self.shortcut(x))


class GlobalContextBlock(Block):
    """DG: adds fc2(relu(fc1(mean of the branch's output))) to the residual sum."""

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module, *, out_channels: int, drop_rate: float = 0.0, **_channels: int
    ) -> None:
        """Put the block together; arguments as those of Block."""
        super().__init__(branch, shortcut, drop_rate=drop_rate)
        hidden = max(1, out_channels // REDUCTION)
        self.fc1 = nn.Linear(out_channels, hidden)
        self.fc2 = constant_linear(hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, T, H, W] -> [N, out_channels, T, H/stride, W/stride]."""
        residual = self.branch(x)
        context = self.fc2(F.relu(self.fc1(average(residual))))
        return F.relu_(self.drop_path(residual + everywhere(context)) + self.shortcut(x))


class DiffusionBlock(Block):
    """LGD (Qiu et al., CVPR 2019): carries a local feature map x and a global vector g, and lets them meet.

    g' = relu(fc2(fc1(mean of x)) + fc4(fc3(g))); x' = relu(branch(x) + shortcut(x) + fc6(fc5(g'))).
    """

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module, *, in_channels: int, out_channels: int, drop_rate: float = 0.0
    ) -> None:
        """Put the block together; arguments as those of Block."""
        super().__init__(branch, shortcut, drop_rate=drop_rate)
        hidden = max(1, out_channels // REDUCTION)
        self.fc1 = nn.Linear(in_channels, hidden)
        self.fc2 = nn.Linear(hidden, out_channels)
        self.fc3 = nn.Linear(in_channels, hidden)
        self.fc4 = nn.Linear(hidden, out_channels)
        self.fc5 = nn.Linear(out_channels, hidden)
        self.fc6 = constant_linear(hidden, out_channels)

    def forward(self, features: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Map ([N, in_channels, T, H, W], [N, in_channels]) to the same pair with out_channels, space strided."""
        x, g = features
        g = F.relu(self.fc2(self.fc1(average(x))) + self.fc4(self.fc3(g)))
        context = everywhere(self.fc6(self.fc5(g)))
        x = F.relu_(self.drop_path(self.branch(x) + context) + self.shortcut(x))
        return x, g


def constant_linear(in_features: int, out_features: int) -> nn.Linear:
    """Make a fully connected layer that looks at nothing until it is trained: its weight is zero.

    Its bias is torch's random one, as in the paper's code: a new block is a plain residual one but for a constant.
    """
    linear = nn.Linear(in_features, out_features)
    nn.init.zeros_(linear.weight)
    return linear


def _identity(x: Tensor) -> Tensor:
    return x


def everywhere(vector: Tensor) -> Tensor:
    """[N, C] -> [N, C, 1, 1, 1], to be added at every place of a feature map."""
    return vector[:, :, None, None, None]
