"""Exchange of modules inside a network, for those of other libraries or classes that do one thing more."""

from collections.abc import Callable

from torch import nn


def exchange(network: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put another module in the place of every one inside `network` that `make` gives one for, under its name."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            new = make(child)
            if new is not None:
                setattr(module, name, new)
