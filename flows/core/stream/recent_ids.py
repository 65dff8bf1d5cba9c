"""Recognizes duplicate ids in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterable


class RecentIds(OrderedDict[str, None]):
    """The last `limit` ids. A dictionary subclass, so that `in` costs no Python call."""

    def __init__(self, limit: int, ids: Iterable[str] = ()) -> None:
        super().__init__(dict.fromkeys(ids))
        self._limit = limit

    def add(self, item: str) -> bool:
        """Remember `item`; return False if it was already known.

        >>> recent = RecentIds(limit=1)
        >>> recent.add("a"), recent.add("a"), recent.add("b"), recent.add("a")
        (True, False, True, True)
        """
        if item in self:
            return False
        self[item] = None
        if len(self) > self._limit:
            self.popitem(last=False)
        return True

    def snapshot(self) -> list[str]:
        """Return the ids, oldest first."""
        return list(self)
