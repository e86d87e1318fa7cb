"""Values by key, made on demand and kept within a bound of memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What tells its size in memory, as arrays do."""

    @property
    def nbytes(self) -> int: ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Sized)


class Recent(Generic[K, V]):
    """Keeps values; those used longest ago go first, the last one stays however large it is.

    Args:
        max_bytes: of all values that are kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._values: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K, make: Callable[[K], V]) -> V:
        """The value of a key, made where it is not kept."""
        if key not in self._values:
            self._values[key] = make(key)
            self._bytes += self._values[key].nbytes
        self._values.move_to_end(key)
        value = self._values[key]
        while self._bytes > self._max_bytes and len(self._values) > 1:
            self._bytes -= self._values.popitem(last=False)[1].nbytes
        return value
