"""The optimizer of a state, from its settings."""

import functools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import nn

from utils.config.sections import OptimizerConfig
from utils.errors import UserError

CLASSIFIER_RATE = 10.0  # fc_higher_lr


class Staged(Protocol):
    """A network that knows its stages and its classifiers (`model.network.VideoNetwork`)."""

    stages: tuple[str, ...]
    classifier_names: tuple[str, ...]

    def stage_of(self, name: str) -> int:
        """Return the stage of a parameter, from 0; for what is behind the last one their number."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Give all weights."""


def make_optimizer(settings: OptimizerConfig, network: Staged) -> torch.optim.Optimizer:
    """Return SGD or AdamW over the weights that need a gradient.

    A group's `rate_factor` multiplies the schedule's rate: classifiers have 10 with fc_higher_lr, stages powers of
    layer_decay, the last one the first (Clark et al., ELECTRA, 2020; Bao et al., BEiT, 2022).

    Raises:
        UserError: layer_decay of a network that says no stages.
    """
    if settings.layer_decay != 1 and not network.stages:
        raise UserError(f"optimizer.layer_decay: found {settings.layer_decay:g}, but the network says no stages")
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
    # The rate is set before every step. Fused, weights are read once a step; on a CPU torch does not choose it itself.
    return make(groups, lr=0.0, weight_decay=settings.weight_decay, fused=on_cpu or None)
