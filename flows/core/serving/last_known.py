"""What was last known of the newest ids, in bounded memory."""

from collections.abc import Iterable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class LastKnown(Generic[T]):
    """A value for each of the `limit` ids added last. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
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
            for _ in range(len(values) - self._limit):
                del values[next(iter(values))]
