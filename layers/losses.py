"""The training loss over all heads of a network."""

import torch
import torch.nn.functional as F
from torch import nn

LABEL_SMOOTHING = 0.1


class HeadsLoss(nn.Module):
    """Cross-entropy of every head against the same target, summed over heads (DG: two terms; LGD: local and global).

    Args:
        label_smoothing: Fraction of the target spread evenly over all classes. Soft targets (mixup) bring their own.
        class_weights: Factors of the loss of a clip of each class, [classes]; a clip of a soft target has the mean of
            its classes' factors. None: 1. The mean is over clips, not over weights, so that micro-batches add up.
    """

    class_weights: torch.Tensor | None

    def __init__(self, label_smoothing: float = 0.0, class_weights: torch.Tensor | None = None) -> None:
        """Keep the settings."""
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, heads: tuple[torch.Tensor, ...], targets: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss in float32.

        Args:
            heads: One [N, classes] tensor of logits per head.
            targets: int64 [N] labels, or float [N, classes] distributions.
        """
        smoothing = 0.0 if targets.is_floating_point() else self.label_smoothing
        if self.class_weights is None:
            losses = [F.cross_entropy(logits.float(), targets, label_smoothing=smoothing) for logits in heads]
            return torch.stack(losses).sum()
        weights = targets @ self.class_weights if targets.is_floating_point() else self.class_weights[targets]  # [N]
        losses = [
            F.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="none") for logits in heads
        ]
        return (torch.stack(losses).sum(0) * weights).mean()
