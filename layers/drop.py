"""Stochastic depth: residual branches are dropped at random in training."""

import torch.nn.functional as F
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, set a residual branch to zero for a random fraction of the clips (Huang et al., ECCV 2016).

    Kept branches are divided by the probability of being kept, so that the mean stays the same.
    """

    def __init__(self, rate: float = 0.0) -> None:
        """Drop each clip's branch with probability `rate`, in [0, 1)."""
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """[N, ...] -> the same shape."""
        if self.rate == 0 or not self.training:
            return branch
        kept = F.dropout(branch.new_ones(branch.shape[0], *[1] * (branch.dim() - 1)), self.rate, training=True)
        return branch * kept


def drop_rates(rate: float, count: int) -> list[float]:
    """Return the drop rates of `count` blocks, rising linearly from 0 at the first to `rate` at the last."""
    return [rate * number / max(1, count - 1) for number in range(count)]
