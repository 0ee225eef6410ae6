"""A cache with a bound: what was used least recently goes first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


def _one(_value: object) -> int:
    return 1


def _leave(_value: object) -> None:
    pass


class BoundedCache(Generic[Value]):
    """Values by key, whose total weight stays within a capacity."""

    def __init__(
        self,
        capacity: int,
        *,
        weigh: Callable[[Value], int] = _one,
        dispose: Callable[[Value], None] = _leave,
    ) -> None:
        """Make an empty cache.

        Args:
            capacity: Largest total weight; a single value above it is still kept until the next one comes.
            weigh: The weight of a value, one each by default.
            dispose: Called with every value that leaves.
        """
        self._capacity = capacity
        self._weigh = weigh
        self._dispose = dispose
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._values)

    def get(self, key: Hashable) -> Value | None:
        """Return the value of a key, which now counts as used last, or None."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: Hashable, value: Value) -> None:
        """Take in a value (in place of an earlier one of that key) and drop what no longer fits."""
        if key in self._values:
            self._drop(key)
        self._values[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._capacity and len(self._values) > 1:
            self._drop(next(iter(self._values)))

    def clear(self) -> None:
        """Drop everything."""
        while self._values:
            self._drop(next(iter(self._values)))

    def _drop(self, key: Hashable) -> None:
        value = self._values.pop(key)
        self._weight -= self._weigh(value)
        self._dispose(value)
