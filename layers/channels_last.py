"""Channels last: where the numbers of feature maps and kernels lie in memory.

Names, shapes and values of weights are the same in every memory format; outputs and gradients are equal but for
rounding, since sums are taken in another order. The first convolution puts its maps into the format, and the layers
behind it keep it, but for small maps that torch convolves on a single thread.
"""

import torch
from torch import nn

# Of tensors by their number of axes.
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def use_channels_last(network: nn.Module) -> None:
    """Lay out the kernels of a network's convolutions; no part of its state dict changes."""
    for conv in network.modules():
        if isinstance(conv, nn.Conv2d | nn.Conv3d):
            conv.weight.data = conv.weight.data.contiguous(memory_format=FORMATS[conv.weight.dim()])
