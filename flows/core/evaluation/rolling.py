"""Recent labels: the last ones, and those of the last period of event time.

A window keeps scores and truths; metrics are computed from them when they are read, a few times a minute.
River's `utils.Rolling` and `utils.TimeRolling` revert old answers instead: that takes two updates per label,
accumulates rounding errors, needs a metric with `revert`, and `TimeRolling` never removes a late label.
"""

from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Window(NamedTuple, Generic[T]):
    """The items of a period of event time; `whole` is false if the limit has dropped some of them."""

    items: list[T]
    whole: bool


class RecentItems(Generic[T]):
    """The last `limit` items in order of arrival, with their event times (ms).

    >>> recent = RecentItems(limit=3)
    >>> recent.extend([10, 40, 20, 50], ["a", "b", "late", "c"])
    >>> recent.last(2)
    ['late', 'c']
    >>> recent.within(20), recent.within(50)
    (Window(items=['b', 'c'], whole=True), Window(items=['b', 'late', 'c'], whole=False))
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[tuple[int, T]] = deque()
        self._newest: int | None = None
        self._dropped: int | None = None  # the newest time among the items that the limit dropped

    def extend(self, times: Sequence[int], items: Sequence[T]) -> None:
        """Add items; beyond the limit, those that arrived first are dropped."""
        self._items.extend(zip(times, items, strict=True))
        for _ in range(len(self._items) - self._limit):
            oldest, _ = self._items.popleft()
            self._dropped = oldest if self._dropped is None else max(self._dropped, oldest)
        self._newest = max(times) if self._newest is None else max(self._newest, *times)

    def last(self, count: int) -> list[T]:
        """Return the `count` items that arrived last, or fewer if fewer are kept."""
        skipped = max(0, len(self._items) - count)
        return [item for number, (_, item) in enumerate(self._items) if number >= skipped]

    def within(self, period: int) -> Window[T]:
        """Return the items, including late ones, with times in the `period` (ms) up to the newest."""
        if self._newest is None:
            return Window([], True)
        start = self._newest - period
        whole = self._dropped is None or self._dropped <= start
        return Window([item for time, item in self._items if time > start], whole)
