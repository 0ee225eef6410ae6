"""The exponential moving average of weights, and the recomputation of batch norm statistics."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils.training.precision import autocast


class WeightAverage:
    """The exponential moving average of a network's weights and running statistics over the steps of a state.

    The decay is at most (1 + steps) / (10 + steps), so that the average of a short state forgets the initial weights.

    Attributes:
        network: The network whose weights are averaged.
        decay: Fraction of the average that a step keeps, below 1.
        steps: Steps so far.
        average: Averages by the names of the network's state dict; integers are those of the last step.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        """Start from the current weights; the network must keep its tensor objects (their content may change)."""
        self.network, self.decay, self.steps = network, decay, 0
        saved = network.state_dict().keys()
        named = chain(network.named_parameters(), network.named_buffers())
        self._own = {name: tensor for name, tensor in named if name in saved}
        self.average = {name: tensor.detach().clone() for name, tensor in self._own.items()}
        # Collected once: a step then needs one foreach call for all tensors of a kind.
        floats = [name for name, tensor in self._own.items() if tensor.is_floating_point()]
        others = [name for name, tensor in self._own.items() if not tensor.is_floating_point()]
        self._floats = [self.average[name] for name in floats], [self._own[name] for name in floats]
        self._others = [self.average[name] for name in others], [self._own[name] for name in others]

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the weights after a step."""
        self.steps += 1
        torch._foreach_lerp_(*self._floats, self._weight())
        if self._others[0]:
            torch._foreach_copy_(*self._others)

    def _weight(self) -> float:
        """Return the weight of the current step in the average."""
        return 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))

    def swap(self) -> None:
        """Swap the network's weights and the average."""
        for name, tensor in self._own.items():
            average = self.average[name]
            tensor.data, average.data = average.data, tensor.data

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Swap the average into the network for the block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state_dict(self) -> dict[str, Any]:
        """Return the entries of a checkpoint."""
        return {"average": self.average, "average_steps": self.steps}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Restore the average from a checkpoint."""
        self.steps = content["average_steps"]
        for name, tensor in self.average.items():
            tensor.copy_(content["average"][name])


@torch.no_grad()
def recalculate_statistics(
    network: nn.Module,
    batches: Iterable[torch.Tensor],
    *,
    normalize: Callable[[torch.Tensor], torch.Tensor],
    dtype: torch.dtype | None,
    device: torch.device,
) -> None:
    """Recompute the running statistics of every batch norm as the mean over batches with fixed weights (precise BN).

    Frozen norms are included. All other modules run in evaluation mode, in which the network is left.

    Args:
        network: Its weights do not change.
        batches: uint8 clips, as the loader yields them.
        normalize: uint8 clips to network input.
        dtype: Autocast type; None is float32.
        device: Device of the network.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches since the reset
        norm.training = True
    for clips in batches:
        with autocast(device, dtype):
            network(normalize(clips.to(device, non_blocking=True)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.training = False
