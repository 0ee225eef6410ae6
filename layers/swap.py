"""Swap modules inside a network for those of another class that holds the same parameters."""

from collections.abc import Callable

from torch import nn


def swap_modules(network: nn.Module, choose: Callable[[nn.Module], type[nn.Module] | None]) -> None:
    """Swap modules inside `network` for instances of other classes, in place.

    Args:
        network: Any module; it is not swapped itself.
        choose: Returns the new class of a module, None to keep the module. The new instance takes over the attributes
            of the old one: its very parameters, buffers, submodules and hooks.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            kind = choose(child)
            if kind is not None:
                new = kind.__new__(kind)
                new.__dict__.update(child.__dict__)
                setattr(module, name, new)
