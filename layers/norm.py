"""Batch norm whose running statistics can be frozen."""

from torch import nn


class BatchNorm3d(nn.BatchNorm3d):
    """Batch norm over [N, C, T, H, W] that stays in evaluation mode while it is frozen.

    Frozen, it normalises by its running statistics and leaves them as they are, also after `network.train()`;
    weight and bias are trained either way.
    """

    frozen = False

    def train(self, mode: bool = True) -> "BatchNorm3d":
        """Set training mode, which a frozen norm does not enter."""
        super().train(mode and not self.frozen)
        return self


def set_frozen_batch_norm(network: nn.Module, frozen: bool) -> None:
    """Freeze or release the running statistics of every batch norm of `network` but the first.

    Small batches of long clips give poor statistics, so late states keep those of the earlier ones. The first norm
    goes on adapting to the input. The setting is no part of the state dict.

    Args:
        network: Any module; its training mode is kept.
        frozen: True to fix the running statistics, False to estimate them from the batches again.
    """
    norms = [module for module in network.modules() if isinstance(module, BatchNorm3d)]
    for norm in norms[1:]:
        norm.frozen = frozen
        norm.train(network.training)
