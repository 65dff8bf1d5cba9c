"""An index of keys that may be idle, without a timer for each key."""

from collections import defaultdict


class IdleIndex:
    """Keys by the time of their next check, in buckets of `width` ms.

    A key is in one bucket and does not move when it is used; a key found active at its check is put in again.
    """

    def __init__(self, width: int) -> None:
        self._width = max(1, width)
        self._buckets: dict[int, list[str]] = defaultdict(list)
        self._next = 2**62  # the earliest bucket

    def put(self, key: str, time: int) -> None:
        """Schedule a check of `key` once `time` (ms) has passed."""
        bucket = time // self._width + 1
        self._buckets[bucket].append(key)
        self._next = min(self._next, bucket)

    def due(self, now: int) -> list[str]:
        """Remove and return the keys whose time has passed at `now` (ms).

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
