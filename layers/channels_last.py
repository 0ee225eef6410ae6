"""The channels-last memory format.

Names, shapes and values of weights are the same in every memory format; outputs and gradients differ by rounding only,
since sums are taken in another order. The first convolution outputs maps in the format and the layers after it keep
it, except for small maps that torch convolves on a single thread.
"""

import torch
from torch import nn

# Channels-last format by number of axes of the tensor.
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def use_channels_last(network: nn.Module) -> None:
    """Convert the kernels of all convolutions of `network` to channels last, in place; its state dict stays equal."""
    for conv in network.modules():
        if isinstance(conv, nn.Conv2d | nn.Conv3d):
            conv.weight.data = conv.weight.data.contiguous(memory_format=FORMATS[conv.weight.dim()])
