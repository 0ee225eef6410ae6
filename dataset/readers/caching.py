"""A least-recently-used cache of bounded total weight."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """An LRU cache whose values have a total weight of at most a capacity."""

    def __init__(self, capacity: int, *, weigh: Callable[[Value], int]) -> None:
        """Create an empty cache.

        Args:
            capacity: Largest total weight; a single heavier value is kept until the next put.
            weigh: Returns the weight of a value.
        """
        self._capacity = capacity
        self._weigh = weigh
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._weight = 0

    def get(self, key: Hashable) -> Value | None:
        """Return the value of a key and mark it as most recently used; None for an unknown key."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: Hashable, value: Value) -> None:
        """Insert or replace the value of a key and evict the least recently used values beyond the capacity."""
        if key in self._values:
            self._weight -= self._weigh(self._values.pop(key))
        self._values[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._capacity and len(self._values) > 1:
            self._weight -= self._weigh(self._values.popitem(last=False)[1])
