"""The training loss, over all heads of a network."""

import torch
import torch.nn.functional as F
from torch import nn

LABEL_SMOOTHING = 0.1


class HeadsLoss(nn.Module):
    """Cross-entropy summed over heads, all with the same target (DG: two heads; LGD: local and global).

    Args:
        label_smoothing: Fraction of the target spread evenly over all classes, in [0, 1]. Not applied to soft targets
            (mixup), which contain it.
        class_weights: Factor of each class's loss, [classes]; a soft target weights the factors by its probabilities.
            None: all 1. The loss is divided by the number of clips, not by the sum of weights, so that the losses of
            micro-batches add up.
    """

    class_weights: torch.Tensor | None

    def __init__(self, label_smoothing: float = 0.0, class_weights: torch.Tensor | None = None) -> None:
        """Store the settings."""
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, heads: tuple[torch.Tensor, ...], targets: torch.Tensor) -> torch.Tensor:
        """Return the scalar loss in float32.

        Args:
            heads: One [N, classes] tensor of logits per head.
            targets: Labels, int64 [N], or distributions, float [N, classes].
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
