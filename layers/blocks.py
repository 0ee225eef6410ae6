"""Stems, residual branches and residual blocks.

A block is relu(branch(x) + shortcut(x)); global-context blocks add a term to that sum.
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

# Reduction ratio of the fully connected bottlenecks of DG and LGD: channels of the block / hidden channels.
REDUCTION = 16


class Stem(UnitChain):
    """A 7x7 unit, ReLU and max-pooling: divides the frames by early_stride, height and width by 4.

    Attributes:
        out_channels: Channels of the output.
    """

    size = 7  # spatial kernel size of the first unit
    widening = 1  # output channels / base_width

    def __init__(
        self,
        in_channels: int,
        base_width: int,
        *,
        early_stride: int,
        style: UnitStyle,
        first_style: UnitStyle | None = None,
    ) -> None:
        """Build the stem.

        Args:
            in_channels: Channels of the clip.
            base_width: Output channels of the first unit.
            early_stride: Temporal kernel size and stride of the first unit, frames.
            style: Style of all units of the network.
            first_style: Style of the first unit; None: `style`. If only the first unit is 3D, its output frames are
                folded into the batch.
        """
        first_style = first_style or style
        unit = StemUnit(
            in_channels,
            base_width,
            size=self.size,
            early_stride=early_stride,
            norm=first_style.norm,
            dims=first_style.dims,
        )
        super().__init__(unit, *self.make_later_units(base_width, style))
        self.out_channels = base_width * self.widening
        self.folds_frames = first_style.dims > style.dims

    @staticmethod
    def make_later_units(base_width: int, style: UnitStyle) -> tuple[Unit, ...]:
        """Return the units after the first one: none."""
        del base_width, style
        return ()

    def forward(self, clips: Tensor) -> Tensor:
        """Compute the first feature map; the last T % early_stride frames are dropped.

        Args:
            clips: [N, C, T, H, W], or images [N, C, H, W].

        Returns:
            [N, out_channels, T/early_stride, H/4, W/4]; for images [N, out_channels, H/4, W/4]; with folded frames
            [N x T/early_stride, out_channels, H/4, W/4].
        """
        first, *later = self
        x = F.relu_(first(clips))
        if self.folds_frames:
            x = fold_frames(x)
        for unit in later:
            x = F.relu_(unit(x))
        return max_pool_space(x)


class DeepStem(Stem):
    """Three 3x3 units, the last with twice the width; only the first is strided and spans several frames."""

    size, widening = 3, 2

    @staticmethod
    def make_later_units(base_width: int, style: UnitStyle) -> tuple[Unit, ...]:
        """Return two units without groups."""
        dense = UnitStyle(norm=style.norm, dims=style.dims)
        return C2DUnit(base_width, base_width, style=dense), C2DUnit(base_width, 2 * base_width, style=dense)


def max_pool_space(x: Tensor) -> Tensor:
    """Max-pool each frame over 3x3 with stride 2: [N, C, (T,) H, W] -> [N, C, (T,) H/2, W/2]."""
    if x.dim() == 4:
        return F.max_pool2d(x, 3, stride=2, padding=1)
    return F.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


class BasicBranch(UnitChain):
    """Two 3x3 units (ResNet-18 and -34)."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, out_channels: int, *, stride: int, unit: MakeUnit, style: UnitStyle
    ) -> None:
        """Build the branch.

        Args:
            in_channels: Channels of the input.
            width: Channels between the two units.
            out_channels: Channels of the output.
            stride: Spatial stride of the first unit.
            unit: Builds a 3x3 unit.
            style: Style of all units of the network.
        """
        # As in the 2D branch, nothing is activated right before the residual sum: not even inside the last unit.
        last_style = replace(style, activation=_identity)
        super().__init__(
            unit(in_channels, width, stride=stride, style=style),
            unit(width, out_channels, style=last_style),
        )


class BottleneckBranch(UnitChain):
    """1x1, 3x3 and 1x1 units; the 3x3 unit has the stride, as in torchvision."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, out_channels: int, *, stride: int, unit: MakeUnit, style: UnitStyle
    ) -> None:
        """Build the branch; arguments as in BasicBranch, `width` is that of the 3x3 unit."""
        super().__init__(
            PointwiseUnit(in_channels, width, norm=style.norm, dims=style.dims),
            unit(width, width, stride=stride, style=style),
            PointwiseUnit(width, out_channels, norm=style.norm, dims=style.dims),
        )


class Block(nn.Module):
    """Base class of the blocks: a residual branch with stochastic depth, and a shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, *, drop_rate: float = 0.0, **_channels: int) -> None:
        """Build the block.

        Args:
            branch: The residual branch; its output is before the activation.
            shortcut: Identity, or a unit that projects the input to the shape of the branch's output.
            drop_rate: Fraction of the clips that skip the branch in training, in [0, 1).
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
    """DG block: adds fc2(relu(fc1(mean of the branch's output))) to the residual sum."""

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module, *, out_channels: int, drop_rate: float = 0.0, **_channels: int
    ) -> None:
        """Build the block; arguments as in Block, with the channels of its output."""
        super().__init__(branch, shortcut, drop_rate=drop_rate)
        hidden = max(1, out_channels // REDUCTION)
        self.fc1 = nn.Linear(out_channels, hidden)
        self.fc2 = zero_weight_linear(hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, T, H, W] -> [N, out_channels, T, H/stride, W/stride]."""
        residual = self.branch(x)
        context = self.fc2(F.relu(self.fc1(average(residual))))
        return F.relu_(self.drop_path(residual + as_feature_map(context)) + self.shortcut(x))


class DiffusionBlock(Block):
    """LGD block (Qiu et al., CVPR 2019): updates a local feature map x and a global vector g from each other.

    g' = relu(fc2(fc1(mean of x)) + fc4(fc3(g))); x' = relu(branch(x) + shortcut(x) + fc6(fc5(g'))).
    """

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module, *, in_channels: int, out_channels: int, drop_rate: float = 0.0
    ) -> None:
        """Build the block; arguments as in Block, with the channels of its input and output."""
        super().__init__(branch, shortcut, drop_rate=drop_rate)
        hidden = max(1, out_channels // REDUCTION)
        self.fc1 = nn.Linear(in_channels, hidden)
        self.fc2 = nn.Linear(hidden, out_channels)
        self.fc3 = nn.Linear(in_channels, hidden)
        self.fc4 = nn.Linear(hidden, out_channels)
        self.fc5 = nn.Linear(out_channels, hidden)
        self.fc6 = zero_weight_linear(hidden, out_channels)

    def forward(self, features: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Map (x, g) = ([N, in, T, H, W], [N, in]) to ([N, out, T, H/stride, W/stride], [N, out])."""
        x, g = features
        g = F.relu(self.fc2(self.fc1(average(x))) + self.fc4(self.fc3(g)))
        context = as_feature_map(self.fc6(self.fc5(g)))
        x = F.relu_(self.drop_path(self.branch(x) + context) + self.shortcut(x))
        return x, g


def zero_weight_linear(in_features: int, out_features: int) -> nn.Linear:
    """Return a fully connected layer whose weight is zero, so that its output is constant until it is trained.

    The bias is torch's random one, as in the paper's code: a new block is a plain residual block plus a constant.
    """
    linear = nn.Linear(in_features, out_features)
    nn.init.zeros_(linear.weight)
    return linear


def _identity(x: Tensor) -> Tensor:
    return x


def as_feature_map(vector: Tensor) -> Tensor:
    """[N, C] -> [N, C, 1, 1, 1], which broadcasts over a feature map."""
    return vector[:, :, None, None, None]
