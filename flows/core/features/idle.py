"""Which keys to look at for having been idle, without a timer for each of them."""

from collections import defaultdict


class IdleIndex:
    """Keys by the time at which they should be looked at, in buckets of `width` ms.

    A key stands in one bucket and is not moved when it is touched: looked at too early it is put in again.
    """

    def __init__(self, width: int) -> None:
        self._width = max(1, width)
        self._buckets: dict[int, list[str]] = defaultdict(list)
        self._next = 2**62  # the first bucket there is

    def put(self, key: str, time: int) -> None:
        """Look at `key` when `time` (ms) has passed."""
        bucket = time // self._width + 1
        self._buckets[bucket].append(key)
        self._next = min(self._next, bucket)

    def due(self, now: int) -> list[str]:
        """The keys whose time has passed at `now` (ms); they are no longer in here.

        >>> idle = IdleIndex(10)
        >>> idle.put("a", 25)
        >>> idle.due(29), idle.due(30), idle.due(31)
        ([], ['a'], [])
        """
        due: list[str] = []
        while self._next * self._width <= now and self._buckets:
            due += self._buckets.pop(self._next, ())
            self._next = min(self._buckets, default=2**62)
        return due
