"""Batch norm whose running statistics can be frozen."""

from collections.abc import Iterable
from typing import Self

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from layers.swap import swap_modules


class _FreezableBatchNorm(_BatchNorm):
    """Batch norm that stays in evaluation mode while it is frozen.

    A frozen norm normalizes by its running statistics and does not update them, also after `network.train()`; weight
    and bias are trained either way.
    """

    frozen = False

    def train(self, mode: bool = True) -> Self:
        """Set training mode, unless frozen, or evaluation mode."""
        return super().train(mode and not self.frozen)


class BatchNorm3d(_FreezableBatchNorm, nn.BatchNorm3d):
    """Batch norm over [N, C, T, H, W] that can be frozen."""


class BatchNorm2d(_FreezableBatchNorm, nn.BatchNorm2d):
    """Batch norm over [N, C, H, W] that can be frozen."""


BATCH_NORMS: dict[int, type[BatchNorm2d] | type[BatchNorm3d]] = {2: BatchNorm2d, 3: BatchNorm3d}


def make_freezable(network: nn.Module) -> None:
    """Swap every torch.nn.BatchNorm3d inside `network` (of another library) for one that can be frozen, in place."""
    swap_modules(network, lambda norm: BatchNorm3d if type(norm) is nn.BatchNorm3d else None)


def set_frozen_batch_norm(network: nn.Module, frozen: bool) -> None:
    """Freeze or unfreeze the running statistics of every batch norm of `network` but the first.

    Small batches of long clips give poor statistics, so later states keep those of the earlier ones. The first norm
    keeps adapting to the input. The setting is not part of the state dict.

    Args:
        network: Any module; its training mode is kept.
        frozen: True to freeze the running statistics, False to update them from the batches again.
    """
    norms = [module for module in network.modules() if isinstance(module, _FreezableBatchNorm)]
    for norm in norms[1:]:
        norm.frozen = frozen
        norm.train(network.training)


def freeze_batch_norm(modules: Iterable[nn.Module]) -> None:
    """Freeze the running statistics of every batch norm among `modules`."""
    for module in modules:
        if isinstance(module, _FreezableBatchNorm):
            module.frozen = True
            module.eval()
