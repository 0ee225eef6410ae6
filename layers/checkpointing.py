"""Activation checkpointing: blocks that keep their input alone and compute the rest again in the backward pass."""

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
    """In front of a block's class among the bases: trades time for memory while it trains, bit by bit the same.

    Random draws (dropout, stochastic depth) are repeated, and the second computation leaves the running statistics of
    batch norm alone, which the first one has updated.
    """

    def forward(self, *inputs: Any) -> Any:
        """Return what the block's class does."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*inputs)
        return checkpoint(
            super().forward, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _without_statistics(self))
        )


def checkpoint_blocks(network: nn.Module, blocks: Iterable[nn.Module]) -> None:
    """Exchange blocks inside `network`, of whatever class, for checkpointed ones that hold the very same parts."""
    chosen = set(blocks)
    swap_modules(
        network,
        lambda block: _checkpointed_class(type(block)) if block in chosen else None,  # type: ignore[arg-type]  # an instance's hash
    )


@cache
def _checkpointed_class(block_class: type[nn.Module]) -> type[nn.Module]:
    """Make the subclass, of the same name: that is what a network's text shows."""
    return type(block_class.__name__, (Checkpointed, block_class), {})


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Normalise by the batch without a trace in the running statistics; frozen norms go on using theirs."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [norm.momentum for norm in norms]
    counters = [cast(torch.Tensor, norm.num_batches_tracked).clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # all of the old statistics, nothing of the batch's
    try:
        yield
    finally:
        for norm, momentum, counter in zip(norms, momenta, counters, strict=True):
            norm.momentum = momentum
            cast(torch.Tensor, norm.num_batches_tracked).copy_(counter)
