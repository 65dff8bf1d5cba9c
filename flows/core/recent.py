"""The ids seen lately, to recognise duplicates in bounded memory."""

from collections import OrderedDict
from collections.abc import Sequence


class RecentIds:
    """Remembers the last `limit` ids."""

    def __init__(self, limit: int, ids: Sequence[str] = ()) -> None:
        self._limit = limit
        self._ids = OrderedDict.fromkeys(ids)

    def add(self, item: str) -> bool:
        """Remember `item`; False if it was known already.

        >>> recent = RecentIds(limit=1)
        >>> recent.add("a"), recent.add("a"), recent.add("b"), recent.add("a")
        (True, False, True, True)
        """
        if item in self._ids:
            return False
        self._ids[item] = None
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)
        return True

    def __contains__(self, item: str) -> bool:
        return item in self._ids

    def snapshot(self) -> list[str]:
        """The ids, oldest first."""
        return list(self._ids)
