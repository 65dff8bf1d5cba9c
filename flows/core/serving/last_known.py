"""What was last known of the newest ids, in bounded memory."""

from collections.abc import Iterable
from itertools import islice
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class LastKnown(Generic[T]):
    """A value for each of the `limit` ids added last, and for few before them. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # the oldest are removed many at once: to find them, a dict scans the slots of those removed before
        self._spare = limit // 64
        self._values: dict[str, T] = {}
        self._lock = Lock()

    def get(self, name: str) -> T | None:
        """Return the value of an id, None if it is not known."""
        return self._values.get(name)

    def add(self, items: Iterable[tuple[str, T]]) -> None:
        """Remember values; an id that is added again counts as new.

        >>> known = LastKnown[int](2)
        >>> known.add([("a", 1), ("b", 2), ("a", 3), ("c", 4)])
        >>> known.get("a"), known.get("b"), known.get("c")
        (3, None, 4)
        """
        with self._lock:
            values = self._values
            for name, value in items:
                values.pop(name, None)
                values[name] = value
            if len(values) > self._limit + self._spare:
                for name in list(islice(values, len(values) - self._limit)):
                    del values[name]
