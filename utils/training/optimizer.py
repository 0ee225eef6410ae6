"""The optimizer of a state, from its settings."""

import functools
from collections.abc import Iterable

import torch
from torch import nn

from utils.config.schema import OptimizerConfig

CLASSIFIER_RATE = 10.0  # fc_higher_lr


def make_optimizer(
    settings: OptimizerConfig, network: nn.Module, *, classifier_names: Iterable[str]
) -> torch.optim.Optimizer:
    """Return SGD or AdamW; a group's `rate_factor` multiplies the schedule's (classifiers: 10 with fc_higher_lr)."""
    heads = tuple(f"{name}." for name in classifier_names)
    factor = CLASSIFIER_RATE if settings.fc_higher_lr else 1.0
    named = list(network.named_parameters())
    groups = [
        {"params": [weight for name, weight in named if not name.startswith(heads)], "rate_factor": 1.0},
        {"params": [weight for name, weight in named if name.startswith(heads)], "rate_factor": factor},
    ]
    on_cpu = all(weight.device.type == "cpu" for _, weight in named)
    make = (
        torch.optim.AdamW
        if settings.adamw_solver
        else functools.partial(torch.optim.SGD, momentum=settings.momentum, nesterov=settings.nesterov)
    )
    # The rate is set before every step. Fused, weights are read once a step; on a CPU torch does not choose it itself.
    return make(groups, lr=0.0, weight_decay=settings.weight_decay, fused=on_cpu or None)
