"""Activation checkpointing: blocks that keep their input alone and compute the rest again in the backward pass."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(blocks: Iterable[nn.Module]) -> None:
    """Make blocks trade time for memory while they train: the same values and gradients, bit by bit.

    Random draws (dropout, stochastic depth) are repeated, and the second computation leaves the running statistics of
    batch norm alone, which the first one has updated.
    """
    for block in blocks:
        block.forward = partial(_run, block, block.forward)


def _run(block: nn.Module, forward: Callable[..., Any], *inputs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=partial(_contexts, block))


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Give the surroundings of the first and of the second computation."""
    return nullcontext(), _without_statistics(block)


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
