"""A cache with a bound: what was used least recently goes first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Values by key, whose total weight stays within a capacity."""

    def __init__(self, capacity: int, *, weigh: Callable[[Value], int]) -> None:
        """Make an empty cache.

        Args:
            capacity: Largest total weight; a single value above it is still kept until the next one comes.
            weigh: The weight of a value.
        """
        self._capacity = capacity
        self._weigh = weigh
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._weight = 0

    def get(self, key: Hashable) -> Value | None:
        """Return the value of a key, which now counts as used last, or None."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: Hashable, value: Value) -> None:
        """Take in a value (in place of an earlier one of that key) and drop what no longer fits."""
        if key in self._values:
            self._weight -= self._weigh(self._values.pop(key))
        self._values[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._capacity and len(self._values) > 1:
            self._weight -= self._weigh(self._values.popitem(last=False)[1])
