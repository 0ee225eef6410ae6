"""Channels last: where the numbers of feature maps and kernels lie in memory, and the convolutions that gain by it.

Names, shapes and values of weights are the same in every layout; outputs and gradients are equal but for rounding,
since sums are taken in another order. The first convolution puts its maps into the layout, and every layer keeps it.

On a CPU some convolutions are computed in another way, most as matrix products of rows of channels, which is what they
are when channels lie side by side; benchmarks/training_step.py shows what that gains over torch's own convolutions.
Only in float32 and float64 and without groups: under autocast torch's own run.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from layers.convolutions import OWN, Conv2d, Conv3d

# Of tensors by their number of axes.
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
# The unfolded maps that a weight gradient multiplies at once stay within a processor's cache, bytes.
UNFOLDED_BYTES = 8 * 2**20
# From so many places for each channel on, a 3x1x1 kernel is faster as a 2D convolution than as matrix products.
PLACES_PER_CHANNEL = 10
# From so many channels on, a product with the unfolded map is the faster way to the gradient of a 1x3x3 kernel.
WIDE = 64
# What the forms here are right and faster in; in bf16 torch's own run.
EXACT = (torch.float32, torch.float64)
# Of clips: RGB, and two of optical flow.
CLIP_CHANNELS = 3

Conv = nn.Conv2d | nn.Conv3d
Own = Conv2d | Conv3d
Form = Callable[[Any, Tensor], Tensor]


def use_channels_last(network: nn.Module, device: torch.device) -> None:
    """Lay out a network's convolutions for a device; a network that is laid out already stays as it is.

    Args:
        network: On `device`; no part of its state dict changes.
        device: Where it will run.
    """
    for conv in network.modules():
        if not isinstance(conv, Conv):
            continue
        if device.type == "cpu" and isinstance(conv, OWN):
            conv.form = _convolve_clips if _takes_clips(conv) else _find_form(conv)
            if conv.form is _convolve_clips:
                continue
        conv.weight.data = conv.weight.data.contiguous(memory_format=FORMATS[conv.weight.dim()])


def _takes_clips(conv: Conv) -> bool:
    return conv.in_channels <= CLIP_CHANNELS and conv.kernel_size[-1] > 1


def _convolve_clips(conv: Own, x: Tensor) -> Tensor:
    """Convolve a clip's planes and lay out the maps: its few channels fill no vector where they lie side by side."""
    maps = conv.convolve(x.contiguous())
    return maps.contiguous(memory_format=FORMATS[maps.dim()])


def _convolve(products: Form, conv: Own, x: Tensor) -> Tensor:
    exact = x.dtype in EXACT and not torch.is_autocast_enabled(x.device.type)
    if not exact or x.dim() != conv.weight.dim():
        return conv.convolve(x)
    return products(conv, x.contiguous(memory_format=FORMATS[x.dim()]))


def _find_form(conv: Own) -> Form | None:
    """Return how a convolution is computed; None: torch's way is as good."""
    products = _find_products(conv)
    return partial(_convolve, products) if products is not None else None


def _find_products(conv: Own) -> Form | None:
    """Return the matrix products that a convolution is written as."""
    if conv.groups > 1 or conv.bias is not None:
        return None
    if conv.padding_mode != "zeros" or set(conv.dilation) != {1}:
        return None
    kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
    if set(kernel) == {1} and not any(padding):
        return pointwise
    if kernel == (3, 1, 1) and padding == (1, 0, 0) and stride[0] == 1:
        return temporal
    if kernel == (1, 3, 3) and padding == (0, 1, 1) and stride[0] == 1 and stride[1] == stride[2]:
        return spatial if conv.in_channels >= WIDE else None
    return None


def pointwise(conv: Conv, x: Tensor) -> Tensor:
    """Convolve with a kernel of one place: every place's channels times one matrix.

    Args:
        conv: The convolution, of any stride.
        x: Channels last, [N, C_in, (T,) H, W].
    """
    for axis, stride in enumerate(conv.stride, start=2):
        x = x[(slice(None),) * axis + (slice(None, None, stride),)]
    return F.linear(x.movedim(1, -1), conv.weight.flatten(1)).movedim(-1, 1)


def temporal(conv: Any, x: Tensor) -> Tensor:
    """Convolve with 3x1x1, padded in time: over frames x places, or with matrix products (see _convolve_time).

    Args:
        conv: The convolution; it may stride in space.
        x: Channels last, [N, C_in, T, H, W].
    """
    _, height, width = conv.stride
    return _Temporal.apply(x[:, :, :, ::height, ::width], conv.weight)


def spatial(conv: Any, x: Tensor) -> Tensor:
    """Convolve with 1x3x3, padded in space: torch's convolution, but for the gradient of its weight.

    Args:
        conv: The convolution; it may stride in space.
        x: Channels last, [N, C_in, T, H, W].
    """
    return _Spatial.apply(x, conv.weight, conv.stride)


def _rows(x: Tensor) -> Tensor:
    """[N, C, T, H, W], channels last -> [N, T, H x W, C], without a copy."""
    return x.contiguous(memory_format=torch.channels_last_3d).movedim(1, -1).flatten(2, 3)


def _map(rows: Tensor, *, like: Tensor) -> Tensor:
    """[N, T, H x W, C] -> [N, C, T, H, W] of the height and width of another map, channels last."""
    return rows.unflatten(2, like.shape[3:]).movedim(-1, 1)


class _Temporal(torch.autograd.Function):
    """The convolution with 3x1x1, whose gradients are convolutions of that kind and matrix products again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """[N, C_in, T, H, W], [C_out, C_in, 3, 1, 1] -> [N, C_out, T, H, W]."""
        ctx.save_for_backward(x, weight)
        return _map(_convolve_time(_rows(x), *weight.flatten(2).unbind(2)), like=x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of the input and the weight."""
        x, weight = ctx.saved_tensors
        rows = _rows(grad)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            before, at, after = weight.flatten(2).transpose(0, 1).unbind(2)
            grad_x = _map(_convolve_time(rows, after, at, before), like=x)
        if ctx.needs_input_grad[1]:
            grad_weight = _temporal_weight_grad(_rows(x), rows)
        return grad_x, grad_weight


def _convolve_time(rows: Tensor, before: Tensor, at: Tensor, after: Tensor) -> Tensor:
    """Convolve [N, T, H x W, C_in] with a kernel given as its three matrices [C_out, C_in], padded in time.

    Many places are a 2D convolution over [T, H x W]. For few places and many channels a library would spend its time on
    bringing the kernel into an order of its own, and the frames before, at and behind every one are multiplied by a
    matrix each.
    """
    if rows.numel() >= PLACES_PER_CHANNEL * rows.shape[3] ** 2:
        kernel = torch.stack((before, at, after), dim=2)[..., None]
        maps = F.conv2d(rows.movedim(3, 1), kernel, padding=(1, 0))
        return maps.contiguous(memory_format=torch.channels_last).movedim(1, 3)
    out = rows.flatten(0, 2).mm(at.t()).unflatten(0, rows.shape[:3])
    if rows.shape[1] > 1:
        clips = len(rows)
        out[:, 1:].flatten(1, 2).baddbmm_(rows[:, :-1].flatten(1, 2), before.t().expand(clips, -1, -1))
        out[:, :-1].flatten(1, 2).baddbmm_(rows[:, 1:].flatten(1, 2), after.t().expand(clips, -1, -1))
    return out


def _temporal_weight_grad(rows: Tensor, grads: Tensor) -> Tensor:
    """Return the gradient of a 3x1x1 kernel, [C_out, C_in, 3, 1, 1], channels last, from two [N, T, H x W, C]."""
    total = rows.new_zeros(grads.shape[-1], 3, rows.shape[-1])
    torch.mm(grads.flatten(0, 2).t(), rows.flatten(0, 2), out=total[:, 1])
    if rows.shape[1] > 1:
        total[:, 0].addbmm_(grads[:, 1:].flatten(1, 2).mT, rows[:, :-1].flatten(1, 2))
        total[:, 2].addbmm_(grads[:, :-1].flatten(1, 2).mT, rows[:, 1:].flatten(1, 2))
    return total[:, :, None, None].movedim(-1, 1)


class _Spatial(torch.autograd.Function):
    """The convolution with 1x3x3; the gradient of the weight is one product with the unfolded input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, ...]) -> Tensor:
        """[N, C_in, T, H, W], [C_out, C_in, 1, 3, 3] -> [N, C_out, T, H/stride, W/stride]."""
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv3d(x, weight, stride=stride, padding=(0, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Gradients of the input and the weight."""
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            settings = (None, ctx.stride, (0, 1, 1), (1, 1, 1), False, (0, 0, 0), 1)
            grad_x = torch.ops.aten.convolution_backward(grad, x, weight, *settings, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            grad_weight = _spatial_weight_grad(x, grad, ctx.stride[1])
        return grad_x, grad_weight, None


def _spatial_weight_grad(x: Tensor, grad: Tensor, stride: int) -> Tensor:
    """Return the gradient of a 1x3x3 kernel, [C_out, C_in, 1, 3, 3], channels last; a few clips at a time."""
    in_channels, out_channels = x.shape[1], grad.shape[1]
    total = x.new_zeros(out_channels, 9 * in_channels)
    bytes_per_clip = 9 * in_channels * grad[0, 0].numel() * x.element_size()
    clips = max(1, UNFOLDED_BYTES // bytes_per_clip)
    for some, grads in zip(x.movedim(1, -1).split(clips), grad.movedim(1, -1).split(clips), strict=True):
        padded = F.pad(some, (0, 0, 1, 1, 1, 1))
        unfolded = padded.unfold(2, 3, stride).unfold(3, 3, stride).movedim(4, -1)  # [clips, T, H', W', 3, 3, C_in]
        total.addmm_(grads.flatten(0, 3).t(), unfolded.reshape(-1, total.shape[1]))
    return total.view(out_channels, 1, 3, 3, in_channels).movedim(-1, 1)
