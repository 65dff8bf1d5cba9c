"""Recognizes duplicate ids in bounded memory."""

from collections import deque
from collections.abc import Iterable, Sequence


class RecentIds:
    """The last `limit` ids."""

    def __init__(self, limit: int, ids: Iterable[str] = ()) -> None:
        self._limit = limit
        self._order = deque(ids)
        self._known = set(self._order)

    def __contains__(self, item: str) -> bool:
        return item in self._known

    def add(self, item: str) -> bool:
        """Remember `item`; return False if it was already known.

        >>> recent = RecentIds(limit=1)
        >>> recent.add("a"), recent.add("a"), recent.add("b"), recent.add("a")
        (True, False, True, True)
        """
        return self.add_batch([item])

    def add_batch(self, items: Sequence[str]) -> bool:
        """Remember different new `items`; return False, and change nothing, if they are not that.

        >>> recent = RecentIds(limit=3, ids=["a"])
        >>> recent.add_batch(["b", "b"]), recent.add_batch(["b", "a"]), recent.add_batch(["b", "c"])
        (False, False, True)
        """
        new = set(items)
        if len(new) < len(items) or not self._known.isdisjoint(new):
            return False
        self._known |= new
        self._order += items
        excess = len(self._order) - self._limit
        self._known.difference_update([self._order.popleft() for _ in range(excess)])
        return True

    def snapshot(self) -> list[str]:
        """Return the ids, oldest first."""
        return list(self._order)
