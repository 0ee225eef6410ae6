"""The training loss over all heads of a network."""

import torch
import torch.nn.functional as F
from torch import nn

LABEL_SMOOTHING = 0.1


class HeadsLoss(nn.Module):
    """Cross-entropy of every head against the same target, summed over heads (DG: two terms; LGD: local and global).

    Args:
        label_smoothing: Fraction of the target spread evenly over all classes. Soft targets (mixup) bring their own.
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        """Keep the fraction."""
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, heads: tuple[torch.Tensor, ...], targets: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss in float32.

        Args:
            heads: One [N, classes] tensor of logits per head.
            targets: int64 [N] labels, or float [N, classes] distributions.
        """
        smoothing = 0.0 if targets.is_floating_point() else self.label_smoothing
        losses = [F.cross_entropy(logits.float(), targets, label_smoothing=smoothing) for logits in heads]
        return torch.stack(losses).sum()
