"""Space-time units: each replaces one convolution of a 2D network and its norm.

A unit's output is before the activation. Every unit can inflate the 2D kernel that it replaces to its own weights, such
that on a clip of equal frames its output is that of the 2D network (I3D: except at the clip's first and last frame,
which its zero padding affects).

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
# Channels of the images that 2D networks are trained on: RGB.
IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class UnitStyle:
    """Settings shared by all units of a network.

    Attributes:
        groups: Groups of the spatial convolution.
        temporal_groups: Groups of the temporal convolution.
        norm: Builds the norm for a number of channels.
        dims: 3 for units on clips, [N, C, T, H, W]; 2 for units on single frames, [N, C, H, W], whose weights have no
            time axis.
        activation: The activation inside units that have one (P3D-C), applied to the output of a norm.
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
    """Return a convolution without bias, initialized for ReLU (He et al., ICCV 2015).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Kernel size (time, height, width).
        stride: Stride (time, height, width).
        groups: Groups of the convolution.
        dims: 3 for a 3D convolution; 2 for a 2D one with the spatial parts of kernel, stride and padding.
        padding: Zero padding (time, height, width). None: kernel // 2, which divides the size by the stride only; along
            time 0 if time is strided.
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


def channel_selecting_kernel(weight: Tensor, sources: Tensor) -> Tensor:
    """Return a temporal kernel whose output channel i is input channel `sources[i]`, frame by frame.

    Args:
        weight: Tensor of the kernel's shape, [out, in per group, frames, ...], type and device.
        sources: Input channel of each output channel, int64 [out]; it must lie in the group of the output channel.
    """
    kernel = torch.zeros_like(weight)
    kernel[torch.arange(len(weight)), sources % weight.shape[1], weight.shape[2] // 2] = 1
    return kernel


def identity_kernel(weight: Tensor) -> Tensor:
    """Return a temporal kernel of the shape of `weight` that is the identity."""
    return channel_selecting_kernel(weight, torch.arange(len(weight)))


def inflate_first_kernel(kernel: Tensor, shape: torch.Size) -> Tensor:
    """Inflate the first kernel of a 2D network.

    The 2D kernel is applied to the middle frame; for inputs other than RGB, every channel gets its mean over RGB.

    Args:
        kernel: The 2D kernel, [out, 3, height, width].
        shape: Shape of the result, [out, channels, (frames,) height, width].
    """
    if shape[1] != IMAGE_CHANNELS:
        kernel = kernel.mean(dim=1, keepdim=True).expand(-1, shape[1], -1, -1)
    if len(shape) == kernel.dim():
        return kernel.contiguous()
    weight = kernel.new_zeros(shape)
    weight[:, :, shape[2] // 2] = kernel
    return weight


class Inflatable(nn.Module):
    """A module whose weights can be inflated from the 2D kernel that it replaces.

    Attributes:
        kernel_name: Name of the weight that corresponds to the 2D kernel.
        shape_2d: Shape of the 2D kernel, [out, in per group, height, width].
    """

    kernel_name = "spatial.weight"
    shape_2d: tuple[int, ...]

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Return the weights, by name, inflated from the 2D `kernel` of shape `shape_2d`."""
        raise NotImplementedError


class Unit(Inflatable):
    """A convolution and its norm: norm(spatial(x)); base class of the units."""

    spatial: Conv

    def __init__(self, spatial: Conv, out_channels: int, *, norm: Callable[[int], nn.Module]) -> None:
        """Build the unit from its spatial convolution.

        Args:
            spatial: The convolution that the 2D kernel is inflated to.
            out_channels: Channels of the unit's output.
            norm: Builds the norm for a number of channels.
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
        """Return the weights, by name, inflated from the 2D `kernel` of shape `shape_2d`."""
        return {"spatial.weight": kernel.reshape(self.spatial.weight.shape)}


class PointwiseUnit(Unit):
    """A 1x1x1 convolution and its norm."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        norm: Callable[[int], nn.Module] = BatchNorm3d,
        dims: int = 3,
    ) -> None:
        """Build the unit; `stride` is spatial."""
        conv = make_conv(in_channels, out_channels, kernel=(1, 1, 1), stride=(1, stride, stride), dims=dims)
        super().__init__(conv, out_channels, norm=norm)


class StemUnit(Unit):
    """First unit: stride and kernel `early_stride` in time, without padding; stride 2 in space."""

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
        """Build the unit.

        Args:
            in_channels: Channels of the clip: 3 for RGB, 2 for optical flow.
            out_channels: Channels of the output.
            size: Height and width of the kernel.
            early_stride: Temporal kernel size and stride, frames; ignored with `dims` 2.
            norm: Builds the norm for a number of channels.
            dims: As in UnitStyle.
            padding: As in make_conv.
        """
        kernel, stride = (early_stride, size, size), (early_stride, 2, 2)
        conv = make_conv(in_channels, out_channels, kernel=kernel, stride=stride, dims=dims, padding=padding)
        super().__init__(conv, out_channels, norm=norm)
        self.shape_2d = (out_channels, IMAGE_CHANNELS, size, size)

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Return the 2D kernel at the middle frame, averaged over RGB for other inputs."""
        return {"spatial.weight": inflate_first_kernel(kernel, self.spatial.weight.shape)}


class C2DUnit(Unit):
    """A 1x3x3 convolution: every frame on its own."""

    kernel = SPATIAL

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, style: UnitStyle) -> None:
        """Build the unit; `stride` is spatial."""
        strides = (1, stride, stride)
        conv = make_conv(
            in_channels, out_channels, kernel=self.kernel, stride=strides, groups=style.groups, dims=style.dims
        )
        super().__init__(conv, out_channels, norm=style.norm)


class I3DUnit(C2DUnit):
    """A 3x3x3 convolution (Carreira and Zisserman, CVPR 2017)."""

    kernel = FULL

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Return the 2D kernel divided by 3 at each of the three frames."""
        return {"spatial.weight": kernel.unsqueeze(2).repeat(1, 1, 3, 1, 1) / 3}


class R2P1DUnit(Unit):
    """1x3x3 to 9/4 of the output channels, then 3x1x1, with nothing in between: as many weights as 3x3x3.

    R(2+1)D (Tran et al., CVPR 2018) has a norm and a ReLU between the two; the paper's code, followed here, has not.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, style: UnitStyle) -> None:
        """Build the unit; `stride` is spatial."""
        narrow = out_channels // style.groups
        # 9/4 is rounded down per group, so that the width stays divisible by the groups in narrow networks.
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
        """Return the 2D filters in the middle of the wider output, zeros around, and a 3x1x1 kernel that selects them.

        With groups they lie in the middle of each group's output, since a filter fits the input of its group only (the
        paper's code counts over all groups, which moves filters into other groups).
        """
        narrow, wide = self.widths
        channel = torch.arange(self.shape_2d[0])
        middle = channel // narrow * wide + (wide - narrow) // 2 + channel % narrow
        spatial = kernel.new_zeros(self.spatial.weight.shape)
        spatial[middle, :, 0] = kernel
        return {"spatial.weight": spatial, "temporal.weight": channel_selecting_kernel(self.temporal.weight, middle)}


class P3DUnit(C2DUnit):
    """Base class of P3D-A, B and C (Qiu et al., ICCV 2017): a 1x3x3 and a 3x1x1 convolution and one norm."""

    temporal: Conv

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, style: UnitStyle) -> None:
        """Build the unit; `stride` is spatial."""
        super().__init__(in_channels, out_channels, stride=stride, style=style)
        self.temporal = self.make_temporal(groups=style.temporal_groups)

    def make_temporal(self, *, groups: int) -> Conv:
        """Return the 3x1x1 convolution, here one for the output of the spatial convolution."""
        channels = self.spatial.out_channels
        return make_conv(channels, channels, kernel=TEMPORAL, groups=groups)

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Return the 2D kernel and a zero temporal kernel, which makes P3D-B and C the 2D unit."""
        return {"spatial.weight": kernel.unsqueeze(2), "temporal.weight": kernel.new_zeros(self.temporal.weight.shape)}


class P3DAUnit(P3DUnit):
    """Serial: norm(temporal(spatial(x)))."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T, H/stride, W/stride], before the activation."""
        return self.norm(self.temporal(self.spatial(x)))

    def inflated(self, kernel: Tensor) -> dict[str, Tensor]:
        """Return the 2D kernel and an identity temporal kernel."""
        return {"spatial.weight": kernel.unsqueeze(2), "temporal.weight": identity_kernel(self.temporal.weight)}


class P3DBUnit(P3DUnit):
    """Parallel: norm(spatial(x) + temporal(x)).

    Both take the unit's input. The paper's code differs in basic blocks: some of its families chain the temporal
    convolutions of a block's two units separately from the spatial ones; others give the first one a width that does
    not fit its input and cannot run.
    """

    def make_temporal(self, *, groups: int) -> Conv:
        """Return the 3x1x1 convolution, which has the input and so the spatial stride of the spatial one."""
        conv = self.spatial
        stride = (1, conv.stride[1], conv.stride[2])
        return make_conv(conv.in_channels, conv.out_channels, kernel=TEMPORAL, stride=stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T, H/stride, W/stride], before the activation."""
        return self.norm(self.spatial(x) + self.temporal(x))


class P3DCUnit(P3DUnit):
    """Residual: y + temporal(y) with y = relu(norm(spatial(x))); before a residual sum y = norm(spatial(x))."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, style: UnitStyle) -> None:
        """Build the unit; `stride` is spatial."""
        super().__init__(in_channels, out_channels, stride=stride, style=style)
        self.activation = style.activation

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T, H/stride, W/stride], before the activation."""
        y = self.activation(super().forward(x))
        return y + self.temporal(y)


class UnitChain(nn.Sequential):
    """Units `unit1`, `unit2`, ... with a ReLU after each but the last."""

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
