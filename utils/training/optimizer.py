"""Create the optimizer of a state."""

import functools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import nn

from utils.config.sections import OptimizerConfig
from utils.errors import UserError

CLASSIFIER_RATE = 10.0  # rate factor of the classifiers with fc_higher_lr


class Staged(Protocol):
    """A network with named stages and classifiers (`model.network.VideoNetwork`)."""

    stages: tuple[str, ...]
    classifier_names: tuple[str, ...]

    def stage_of(self, name: str) -> int:
        """Return the stage of a parameter, from 0; the number of stages for a parameter behind the last one."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield all weights with their names."""


def make_optimizer(settings: OptimizerConfig, network: Staged) -> torch.optim.Optimizer:
    """Return SGD or AdamW over the weights that require a gradient.

    The `rate_factor` of a parameter group multiplies the schedule's rate: 10 for the classifiers with fc_higher_lr;
    layer_decay for the last stage, its square for the one before, and so on (Clark et al., ELECTRA, 2020; Bao et al.,
    BEiT, 2022).

    Raises:
        UserError: layer_decay is set for a network without named stages.
    """
    if settings.layer_decay != 1 and not network.stages:
        raise UserError(
            f"optimizer.layer_decay: found {settings.layer_decay:g}, but the network has no named stages; set it to 1"
        )
    body: dict[float, list[nn.Parameter]] = defaultdict(list)
    heads: list[nn.Parameter] = []
    starts = tuple(f"{name}." for name in network.classifier_names)
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            factor = settings.layer_decay ** (len(network.stages) - network.stage_of(name))
            (heads if name.startswith(starts) else body[factor]).append(weight)
    groups: list[dict[str, Any]] = [{"params": weights, "rate_factor": factor} for factor, weights in body.items()]
    groups.append({"params": heads, "rate_factor": CLASSIFIER_RATE if settings.fc_higher_lr else 1.0})
    on_cpu = all(weight.device.type == "cpu" for _, weight in network.named_parameters())
    make = (
        torch.optim.AdamW
        if settings.adamw_solver
        else functools.partial(torch.optim.SGD, momentum=settings.momentum, nesterov=settings.nesterov)
    )
    # The rate is set before every step. Fused kernels read weights once per step; they are not the default on a CPU.
    return make(groups, lr=0.0, weight_decay=settings.weight_decay, fused=on_cpu or None)
