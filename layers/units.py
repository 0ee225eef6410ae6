"""Space-time units: what stands in a 3D network for one convolution and its norm of a 2D network.

A unit's output is before the activation. Every unit knows how to inflate the 2D kernel it stands for into its own
weights, such that on a clip of equal frames it answers like the 2D network (I3D: away from the clip's first and last
frame, where its zero padding is seen).

Kernels and strides are written (time, height, width).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.convolutions import Conv2d, Conv3d
from layers.norm import BatchNorm3d

Kernel = tuple[int, int, int]
Conv = Conv3d | Conv2d

SPATIAL, TEMPORAL, FULL = (1, 3, 3), (3, 1, 1), (3, 3, 3)
# Channels of the images that 2D networks are trained on.
IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class UnitStyle:
    """What all units of a network have in common.

    Attributes:
        dims: 3 for units that see clips, 2 for units that see single frames, [N, C, H, W]; those have no time axis in
            their weights either.
        groups: Groups of the spatial convolution.
        temporal_groups: Groups of the temporal convolution.
        norm: Makes the norm for a number of channels.
        activation: Acts inside the units that have an activation inside (P3D-C), on what a norm has made.
    """

    groups: int = 1
    temporal_groups: int = 1
    norm: Callable[[int], nn.Module] = BatchNorm3d
    dims: int = 3
    activation: Callable[[Tensor], Tensor] = F.relu_


def make_conv(
    in_channels: int,
    out_channels: int,
    *,
    kernel: Kernel,
    stride: Kernel = (1, 1, 1),
    groups: int = 1,
    dims: int = 3,
    padding: Kernel | None = None,
) -> Conv:
    """Make a convolution without bias, initialised for ReLU (He et al., ICCV 2015).

    Unless told otherwise it is padded to keep the size, but for its stride; a stride in time gets no padding in time.
    With `dims` 2 it is the 2D convolution of the spatial parts of kernel, stride and padding.
    """
    time, height, width = kernel
    if padding is None:
        padding = (time // 2 if stride[0] == 1 else 0, height // 2, width // 2)
    conv = (Conv3d if dims == 3 else Conv2d)(
        in_channels,
        out_channels,
        kernel[-dims:],  # type: ignore[arg-type]
        stride=stride[-dims:],  # type: ignore[arg-type]
        padding=padding[-dims:],  # type: ignore[arg-type]
        groups=groups,
        bias=False,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def picking_kernel(weight: Tensor, sources: Tensor) -> Tensor:
    """Make a temporal kernel whose output i at each frame is input `sources[i]` at the same frame.

    Args:
        weight: Of the kernel's shape, [out, in per group, frames, ...], type and device.
        sources: Input channel that each output picks, int64 [out]; it must lie in the group of its output.
    """
    kernel = torch.zeros_like(weight)
    kernel[torch.arange(len(weight)), sources % weight.shape[1], weight.shape[2] // 2] = 1
    return kernel


def identity_kernel(weight: Tensor) -> Tensor:
    """Make a temporal kernel of the shape of `weight` that gives every frame as it is."""
    return picking_kernel(weight, torch.arange(len(weight)))


def inflate_first_kernel(kernel: Tensor, shape: torch.Size) -> Tensor:
    """Make the first kernel of a network, of `shape`, from a 2D one of colour images.

    The 2D kernel sees the middle frame; its mean over colour serves inputs that are no colour images.
    """
    if shape[1] != IMAGE_CHANNELS:
        kernel = kernel.mean(dim=1, keepdim=True).expand(-1, shape[1], -1, -1)
    if len(shape) == kernel.dim():
        return kernel.contiguous()
    weight = kernel.new_zeros(shape)
    weight[:, :, shape[2] // 2] = kernel
    return weight


class Inflatable(nn.Module):
    """A module that makes its weights from the 2D kernel it stands for.

    Attributes:
        kernel_name: Name of the weight that is made from that kernel itself.
        shape_2d: Shape [out, in per group, height, width] of that kernel.
    """

    kernel_name = "spatial.weight"
    shape_2d: tuple[int, ...]

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Give the weights that depend on the 2D `kernel`, of shape `shape_2d`, by name."""
        raise NotImplementedError


class Unit(Inflatable):
    """A convolution and its norm: norm(spatial(x))."""

    spatial: Conv

    def __init__(self, spatial: Conv, out_channels: int, *, norm: Callable[[int], nn.Module]) -> None:
        """Keep the spatial convolution and make the norm.

        Args:
            spatial: The convolution that takes the 2D kernel.
            out_channels: Channels of the unit's output.
            norm: Makes the norm for a number of channels.
        """
        super().__init__()
        self.spatial = spatial
        self.norm = norm(out_channels)
        shape = spatial.weight.shape
        self.shape_2d = (out_channels, shape[1], *shape[-2:])

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T, H/stride, W/stride], before the activation."""
        return self.norm(self.spatial(x))

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Give this unit's convolution weights, by name, made from the 2D `kernel` of shape `shape_2d`."""
        return {"spatial.weight": kernel.reshape(self.spatial.weight.shape)}


class PointwiseUnit(Unit):
    """1x1x1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        norm: Callable[[int], nn.Module] = BatchNorm3d,
        dims: int = 3,
    ) -> None:
        """Make the unit; `stride` is spatial."""
        conv = make_conv(in_channels, out_channels, kernel=(1, 1, 1), stride=(1, stride, stride), dims=dims)
        super().__init__(conv, out_channels, norm=norm)


class StemUnit(Unit):
    """The first unit: takes `early_stride` frames to one (kernel = stride in time, no padding) and halves space."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: int,
        early_stride: int,
        norm: Callable[[int], nn.Module],
        dims: int = 3,
        padding: Kernel | None = None,
    ) -> None:
        """Make the unit.

        Args:
            in_channels: Channels of the clip: 3 for colour, 2 for optical flow.
            out_channels: Channels of the output.
            size: Spatial kernel size.
            early_stride: Temporal kernel size and stride; a 2D unit has none.
            norm: Makes the norm for a number of channels.
            dims: As in UnitStyle.
            padding: As in make_conv.
        """
        kernel, stride = (early_stride, size, size), (early_stride, 2, 2)
        conv = make_conv(in_channels, out_channels, kernel=kernel, stride=stride, dims=dims, padding=padding)
        super().__init__(conv, out_channels, norm=norm)
        self.shape_2d = (out_channels, IMAGE_CHANNELS, size, size)

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Show the 2D kernel the middle frame; its mean over colour serves inputs that are no colour images."""
        return {"spatial.weight": inflate_first_kernel(kernel, self.spatial.weight.shape)}


class C2DUnit(Unit):
    """1x3x3: every frame alone."""

    kernel = SPATIAL

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, style: UnitStyle) -> None:
        """Make the unit; `stride` is spatial."""
        strides = (1, stride, stride)
        conv = make_conv(
            in_channels, out_channels, kernel=self.kernel, stride=strides, groups=style.groups, dims=style.dims
        )
        super().__init__(conv, out_channels, norm=style.norm)


class I3DUnit(C2DUnit):
    """3x3x3 (Carreira and Zisserman, CVPR 2017)."""

    kernel = FULL

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Give a third of the 2D kernel to each of the three frames."""
        return {"spatial.weight": kernel.unsqueeze(2).repeat(1, 1, 3, 1, 1) / 3}


class R2P1DUnit(Unit):
    """1x3x3 to 9/4 of the width, then 3x1x1, without norm or activation between: as many weights as 3x3x3.

    After R(2+1)D (Tran et al., CVPR 2018), which has a norm and a ReLU between the two; here as the paper's code does.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, style: UnitStyle) -> None:
        """Make the unit; `stride` is spatial."""
        narrow = out_channels // style.groups
        # Floor of 9/4, group by group, so that narrow networks divide into groups as well.
        wide = narrow * 9 // 4
        middle = style.groups * wide
        conv = make_conv(in_channels, middle, kernel=SPATIAL, stride=(1, stride, stride), groups=style.groups)
        super().__init__(conv, out_channels, norm=style.norm)
        self.temporal = make_conv(middle, out_channels, kernel=TEMPORAL, groups=style.temporal_groups)
        self.widths = (narrow, wide)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T, H/stride, W/stride], before the activation."""
        return self.norm(self.temporal(self.spatial(x)))

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Put the 2D filters in the middle of the wider output, zero filters around; the second kernel picks them.

        With groups they stand in the middle of each group's output, since a filter is right for its group's input only
        (the paper's code counts over all groups, and moves filters into others).
        """
        narrow, wide = self.widths
        channel = torch.arange(self.shape_2d[0])
        place = channel // narrow * wide + (wide - narrow) // 2 + channel % narrow
        spatial = kernel.new_zeros(self.spatial.weight.shape)
        spatial[place, :, 0] = kernel
        return {"spatial.weight": spatial, "temporal.weight": picking_kernel(self.temporal.weight, place)}


class P3DUnit(C2DUnit):
    """What P3D-A, B and C share (Qiu et al., ICCV 2017): a 1x3x3 and a 3x1x1 convolution and one norm."""

    temporal: Conv

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, style: UnitStyle) -> None:
        """Make the unit; `stride` is spatial."""
        super().__init__(in_channels, out_channels, stride=stride, style=style)
        self.temporal = self.make_temporal(groups=style.temporal_groups)

    def make_temporal(self, *, groups: int) -> Conv:
        """Make the 3x1x1 convolution, here for the output of the spatial one."""
        channels = self.spatial.out_channels
        return make_conv(channels, channels, kernel=TEMPORAL, groups=groups)

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Start the temporal kernel as zero: the unit is the 2D one (B and C)."""
        return {"spatial.weight": kernel.unsqueeze(2), "temporal.weight": kernel.new_zeros(self.temporal.weight.shape)}


class P3DAUnit(P3DUnit):
    """Serial: norm(temporal(spatial(x)))."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T, H/stride, W/stride], before the activation."""
        return self.norm(self.temporal(self.spatial(x)))

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Start the temporal kernel as the identity."""
        return {"spatial.weight": kernel.unsqueeze(2), "temporal.weight": identity_kernel(self.temporal.weight)}


class P3DBUnit(P3DUnit):
    """Parallel: norm(spatial(x) + temporal(x)).

    Both see the unit's input. The paper's code differs in basic blocks: there some families chain the temporal
    convolutions of a block's two units apart from the spatial ones, and others give the first one a width that does
    not fit its input, so that they cannot run.
    """

    def make_temporal(self, *, groups: int) -> Conv:
        """Make the 3x1x1 convolution: on the same input as the spatial one, so with the same stride."""
        conv = self.spatial
        stride = (1, conv.stride[1], conv.stride[2])
        return make_conv(conv.in_channels, conv.out_channels, kernel=TEMPORAL, stride=stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T, H/stride, W/stride], before the activation."""
        return self.norm(self.spatial(x) + self.temporal(x))


class P3DCUnit(P3DUnit):
    """Residual: y + temporal(y) with y = relu(norm(spatial(x))), or norm(spatial(x)) in front of a residual sum."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, style: UnitStyle) -> None:
        """Make the unit; `stride` is spatial."""
        super().__init__(in_channels, out_channels, stride=stride, style=style)
        self.activation = style.activation

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T, H/stride, W/stride], before the activation."""
        y = self.activation(super().forward(x))
        return y + self.temporal(y)


class UnitChain(nn.Sequential):
    """Units `unit1`, `unit2`, ... with a ReLU between two; the output is before the activation."""

    def __init__(self, *units: nn.Module) -> None:
        """Chain the units in the order given."""
        super().__init__()
        for number, unit in enumerate(units, start=1):
            self.add_module(f"unit{number}", unit)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T', H', W'], before the activation."""
        for number, unit in enumerate(self):
            x = unit(x if number == 0 else F.relu_(x))
        return x
