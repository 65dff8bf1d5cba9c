"""The ids seen lately, to recognise duplicates in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterable


class RecentIds(OrderedDict[str, None]):
    """Remembers the last `limit` ids. It is the dictionary itself, so that `in` costs no call."""

    def __init__(self, limit: int, ids: Iterable[str] = ()) -> None:
        super().__init__(dict.fromkeys(ids))
        self._limit = limit

    def add(self, item: str) -> bool:
        """Remember `item`; False if it was known already.

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
        """The ids, oldest first."""
        return list(self)
