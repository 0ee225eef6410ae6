"""Stochastic depth: residual branches that are left out by chance while training."""

import torch.nn.functional as F
from torch import Tensor, nn


class DropPath(nn.Module):
    """Set a residual branch to zero for a random fraction of the clips (Huang et al., ECCV 2016) in training.

    What is kept is divided by the fraction that is kept, so that the mean stays the same.
    """

    def __init__(self, rate: float = 0.0) -> None:
        """Drop with probability `rate`, below 1."""
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """[N, ...] -> [N, ...]."""
        if self.rate == 0 or not self.training:
            return branch
        kept = F.dropout(branch.new_ones(branch.shape[0], *[1] * (branch.dim() - 1)), self.rate, training=True)
        return branch * kept


def drop_rates(rate: float, count: int) -> list[float]:
    """Give the rates of `count` blocks, rising linearly from 0 at the first to `rate` at the last."""
    return [rate * number / max(1, count - 1) for number in range(count)]
