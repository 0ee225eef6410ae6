"""Exchange of modules inside a network, for those of a class of this project, or of one that does one thing more."""

from collections.abc import Callable

from torch import nn


def exchange(network: nn.Module, choose: Callable[[nn.Module], type[nn.Module] | None]) -> None:
    """Put a module of another class in the place of every one inside `network` that `choose` gives a class for.

    It holds the very parts of the old one.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            kind = choose(child)
            if kind is not None:
                new = kind.__new__(kind)
                new.__dict__.update(child.__dict__)
                setattr(module, name, new)
