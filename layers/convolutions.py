"""torch's convolutions with gradients that are right on every CPU.

On CPUs torch (2.13 and 2.14, oneDNN) leaves parts of a weight's gradient unwritten, or writes beyond its buffers, when
no window of the kernel lies fully inside the map: 2 frames under a kernel of 3, maps of 1 x 1 under a kernel of 3 with
stride 2, and the like. In bf16 this affects every kernel, in float32 those of size 7 with stride 2 over short clips.
In bf16 the gradient also reads memory after the map, once in a few hundred times, when the stride has no room for a
second window: 8 channels of 1 x 1 under a kernel of 1 with stride 2.

The same sums are right in every form that occurs in a network here if the zero padding is written out first, or, where
there is a single window, if only the taps over the map are used: `python -m tests.convolution_forms` compares all forms
with float64.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layers.swap import swap_modules

# Up to this kernel size, torch's own padding gives right gradients in float32 and float64.
SAFE_KERNEL = 5

Conv = nn.Conv2d | nn.Conv3d


class Conv2d(nn.Conv2d):
    """2D convolution that is computed in another way where torch's own has wrong gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] -> [N, C_out, H', W']."""
        return convolve_rewritten(self, x, F.conv2d) if is_at_risk(self, x) else super().forward(x)


class Conv3d(nn.Conv3d):
    """3D convolution that is computed in another way where torch's own has wrong gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, T, H, W] -> [N, C_out, T', H', W']."""
        return convolve_rewritten(self, x, F.conv3d) if is_at_risk(self, x) else super().forward(x)


def use_safe_convolutions(network: nn.Module) -> None:
    """Swap every convolution inside `network` (of another library) for one of this module, in place.

    The new ones hold the parameters of the old ones. Subclasses are swapped too if they inherit torch's `forward`
    (torchvision's `Conv3DSimple`).
    """
    swap_modules(network, _safe_class)


def _safe_class(conv: nn.Module) -> type[nn.Module] | None:
    for original, safe in ((nn.Conv2d, Conv2d), (nn.Conv3d, Conv3d)):
        if isinstance(conv, original) and type(conv).forward is original.forward:
            return safe
    return None


def is_at_risk(conv: Conv, x: Tensor) -> bool:
    """Return whether torch's own convolution of this map may give wrong gradients on its device.

    Args:
        conv: The convolution.
        x: Its input, [N, C, (T,) H, W].
    """
    if x.device.type != "cpu" or isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return False
    exact = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return any(
        (padding > 0 and kernel > (SAFE_KERNEL if exact else 0) and not has_inner_window(size, reach, stride, padding))
        or (not exact and stride > 1 and size + 2 * padding < reach + stride)
        for size, kernel, reach, stride, padding in _axes(conv, x)
    )


def _axes(conv: Conv, x: Tensor) -> list[tuple[int, int, int, int, int]]:
    """Return map size, kernel size, extent of the dilated kernel, stride and padding of each axis."""
    reaches = [gap * (kernel - 1) + 1 for kernel, gap in zip(conv.kernel_size, conv.dilation, strict=True)]
    padding = cast(Sequence[int], conv.padding)
    return list(zip(x.shape[2:], conv.kernel_size, reaches, conv.stride, padding, strict=True))


def has_inner_window(size: int, reach: int, stride: int, padding: int) -> bool:
    """Return whether some window along an axis reads no padding; `reach` is the extent of the dilated kernel."""
    first = -padding % stride  # start of the first window inside the map; windows start at -padding, stride apart
    return first + reach <= size


def convolve_rewritten(conv: Conv, x: Tensor, convolve: Callable[..., Tensor]) -> Tensor:
    """Convolve without using the padding of the convolution operator.

    Along an axis with a single window, only the taps over the map count: these taps over the part of the map that they
    cover are a convolution without padding. Along the other axes the zero padding is written out.

    Args:
        conv: The convolution.
        x: Its input, [N, C, (T,) H, W]; the output has the same memory format.
        convolve: `F.conv2d` or `F.conv3d`.
    """
    weight, stride = conv.weight, list(conv.stride)
    pad: list[int] = []  # as F.pad takes it: last axis first
    for axis, (size, kernel, reach, step, padding) in enumerate(_axes(conv, x)):
        if size + 2 * padding < reach + step and reach == kernel:  # a single window, which starts at -padding
            taps = min(size, kernel - padding)
            x, weight = x.narrow(axis + 2, 0, taps), weight.narrow(axis + 2, padding, taps)
            stride[axis], padding = 1, 0
        pad = [padding, padding, *pad]
    padded = F.pad(x, pad) if any(pad) else x
    return convolve(padded, weight, conv.bias, tuple(stride), 0, conv.dilation, conv.groups)
