"""Window functions that follow the window's two ends: distinct values and quantiles.

A follower gets the window's current positions, adds the records that entered since the last call and removes
those that left. When the window moves backwards, or a record is inserted into it, the follower starts over.
Positions count from the first record ever kept; `base` is the position of the oldest one still kept.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Any

from sortedcontainers import SortedList

from flows.core.features.plan import quantile


class Follower(ABC):
    """An aggregate of the records from `start` up to `stop`."""

    __slots__ = ("start", "stop")

    def __init__(self) -> None:
        self.start = self.stop = 0

    def follow(self, values: Sequence[Any], base: int, start: int, stop: int) -> None:
        """Move to the window from `start` up to `stop`."""
        if start < self.start or stop < self.stop or start >= self.stop:
            self._clear()
            self.start = self.stop = start
        for position in range(self.stop, stop):
            self._enter(position, values[position - base], values, base)
        for position in range(self.start, start):
            self._leave(position, values[position - base])
        self.start, self.stop = start, stop

    def forget(self) -> None:
        """Start over at the next question, because the records in the window changed."""
        self._clear()
        self.start = self.stop = 0

    @abstractmethod
    def read(self, function: str, values: Sequence[Any], base: int, own: int | None) -> Any:
        """Return the function's value without the record at `own`; the window must hold another one."""

    @abstractmethod
    def _enter(self, position: int, value: Any, values: Sequence[Any], base: int) -> None: ...

    @abstractmethod
    def _leave(self, position: int, value: Any) -> None: ...

    @abstractmethod
    def _clear(self) -> None: ...


class _Distinct(Follower):
    """The number of distinct values."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Any] = Counter()

    def read(self, function: str, values: Sequence[Any], base: int, own: int | None) -> int:
        alone = own is not None and self.counts[values[own - base]] == 1
        return len(self.counts) - alone

    def _enter(self, position: int, value: Any, values: Sequence[Any], base: int) -> None:
        self.counts[value] += 1

    def _leave(self, position: int, value: Any) -> None:
        self.counts[value] -= 1
        if not self.counts[value]:
            del self.counts[value]

    def _clear(self) -> None:
        self.counts.clear()


class _Ordered(Follower):
    """Sorted values.

    A quantile q is the smallest value v such that at least a fraction q of the values are <= v.
    """

    __slots__ = ("ordered",)

    def __init__(self) -> None:
        super().__init__()
        self.ordered = SortedList()

    def read(self, function: str, values: Sequence[Any], base: int, own: int | None) -> Any:
        ordered = self.ordered
        if own is not None:
            ordered.remove(values[own - base])
        value = ordered[rank(quantile(function) or 0.0, len(ordered))]
        if own is not None:
            ordered.add(values[own - base])
        return value

    def _enter(self, position: int, value: Any, values: Sequence[Any], base: int) -> None:
        self.ordered.add(value)

    def _leave(self, position: int, value: Any) -> None:
        self.ordered.remove(value)

    def _clear(self) -> None:
        self.ordered.clear()


def rank(share: float, count: int) -> int:
    """Return the index of the quantile `share` among `count` sorted values, as SQL's PERCENTILE_DISC does.

    >>> rank(0.5, 4), rank(0.95, 100), rank(0.01, 3)
    (1, 94, 0)
    """
    return max(0, ceil(round(share * count, 9)) - 1)


_KINDS: dict[str, type[Follower]] = {
    "count_distinct": _Distinct,
    "quantile": _Ordered,
}


def follower(kind: str) -> Follower:
    """Return a new follower of a kind: count_distinct or quantile."""
    return _KINDS[kind]()
