"""A long series in bounded memory, for a chart."""

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """Evenly spaced items of a series, at least half of `most` once there are so many, and the last one.

    When `most` items are kept, every other one is dropped, and from then on every other one is kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._step = 1
        self._count = 0
        self._kept: list[T] = []
        self._last: list[T] = []  # the last item, if it is not kept

    def extend(self, items: Iterable[T]) -> None:
        """Append items.

        >>> series = Thinned[int](4)
        >>> series.extend(range(10))
        >>> series.items
        [0, 4, 8, 9]
        """
        for item in items:
            is_kept = self._count % self._step == 0
            self._count += 1
            self._last = [] if is_kept else [item]
            if is_kept:
                self._kept.append(item)
                if len(self._kept) == self._most:
                    self._kept = self._kept[::2]
                    self._step *= 2
                    self._last = [item]

    @property
    def items(self) -> list[T]:
        """The kept items and the last one, in order."""
        return [*self._kept, *self._last]
