"""Activation checkpointing: blocks keep only their input and recompute the rest in the backward pass."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from layers.swap import swap_modules


class Checkpointed(nn.Module):
    """Mixin, listed before a block's class, that checkpoints the block in training; results are bit-equal.

    Random draws (dropout, stochastic depth) are repeated. The recomputation leaves the running statistics of batch
    norm alone, which the first forward pass has updated.
    """

    def forward(self, *inputs: Any) -> Any:
        """Return the output of the block's class."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*inputs)
        return checkpoint(
            super().forward, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _fixed_statistics(self))
        )


def checkpoint_blocks(network: nn.Module, blocks: Iterable[nn.Module]) -> None:
    """Checkpoint some blocks inside `network`, of any class, in place.

    Args:
        network: Contains the blocks.
        blocks: Modules inside `network`; they are swapped for instances of a checkpointed subclass.
    """
    chosen = set(blocks)
    swap_modules(
        network,
        lambda block: _checkpointed_class(type(block)) if block in chosen else None,  # type: ignore[arg-type]  # an instance's hash
    )


@cache
def _checkpointed_class(block_class: type[nn.Module]) -> type[nn.Module]:
    """Return the checkpointed subclass; it has the name of its base, which the repr of a network shows."""
    return type(block_class.__name__, (Checkpointed, block_class), {})


@contextmanager
def _fixed_statistics(block: nn.Module) -> Iterator[None]:
    """Normalize by the batch without updating the running statistics; frozen norms keep using theirs."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [norm.momentum for norm in norms]
    counters = [cast(torch.Tensor, norm.num_batches_tracked).clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # new statistics = old statistics
    try:
        yield
    finally:
        for norm, momentum, counter in zip(norms, momenta, counters, strict=True):
            norm.momentum = momentum
            cast(torch.Tensor, norm.num_batches_tracked).copy_(counter)
