"""The largest or smallest value of windows that end at the same record, whatever their lengths.

A record whose value a later one beats is in no window's answer as long as that one is in the window too. So
only the others are candidates, and the first one inside a window holds its extreme. All windows of a column
share them, and a record enters once. Positions are those of the values, also after records were dropped.
"""

from array import array
from collections.abc import Callable
from operator import ge, le

_BEATEN: dict[str, Callable[[float, float], bool]] = {"max": le, "min": ge}


class Extremes:
    """The candidates for the extreme of a column; `kind` is "max" or "min"."""

    __slots__ = ("_beaten", "_positions", "_stop")

    def __init__(self, kind: str) -> None:
        self._beaten = _BEATEN[kind]
        self._positions: list[int] = []
        self._stop = 0

    def candidates(self, values: "array[float]", start: int, stop: int) -> list[int]:
        """Return the sorted positions of the candidates of windows that end before `stop`.

        The first one from a window's start on holds its extreme. `start` is that of the longest window.

        >>> Extremes("max").candidates(array("d", [3, 9, 4, 7, 5]), 0, 5)
        [1, 3, 4]
        """
        if stop < self._stop:  # a question about the past
            return self._entered([], values, start, stop)
        if stop > self._stop:
            self._entered(self._positions, values, self._stop, stop)
            self._stop = stop
        return self._positions

    def insert(self, position: int) -> None:
        """Follow the values, where one was inserted: start over at the next question if it was among them."""
        if position < self._stop:
            self._positions.clear()
            self._stop = 0

    def drop(self, count: int) -> None:
        """Follow the values, whose first `count` were dropped."""
        self._positions = [position - count for position in self._positions if position >= count]
        self._stop = max(0, self._stop - count)

    def _entered(self, positions: list[int], values: "array[float]", start: int, stop: int) -> list[int]:
        beaten = self._beaten
        for position in range(start, stop):
            value = values[position]
            while positions and beaten(values[positions[-1]], value):
                positions.pop()
            positions.append(position)
        return positions
