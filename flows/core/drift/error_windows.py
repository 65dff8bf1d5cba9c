"""Windows of errors in constant memory, to locate a change and to see the error recover."""

from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple

from flows.core.drift.levels import LEAST_IN_SLICE, SliceMove

BLOCK = 500  # labels whose mean error is compared with the level before the alarm


class Change(NamedTuple):
    """A cut of a window of errors into two parts: their means, and the part after the cut.

    `width` is the number of labels after the cut and `since` the time (ms) of the first of them.
    """

    before: float
    after: float
    width: int
    since: int


class Recovery:
    """Detects that the error has recovered after it rose.

    It has recovered when the mean error of a block of `BLOCK` labels is at most a quarter of the rise above
    the level before.
    """

    def __init__(self, change: Change) -> None:
        self._low_enough = change.before + (change.after - change.before) / 4
        self._count = 0
        self._total = 0.0

    def add(self, value: float) -> bool:
        """Add one error; return True when a completed block has recovered."""
        self._count += 1
        self._total += value
        if self._count < BLOCK:
            return False
        mean = self._total / BLOCK
        self._count, self._total = 0, 0.0
        return mean <= self._low_enough


class ErrorWindow:
    """The errors since the detector was reset, as sums of blocks of equal length.

    Each block has the time of its first error. There are at most `limit` blocks, an even number: when the
    window is full, neighbouring blocks are merged.
    """

    def __init__(self, limit: int = 512) -> None:
        self._limit = limit
        self._count = 0
        self._total = 0.0
        self._block = 1  # labels in a block
        self._sums: list[float] = []
        self._times: list[int] = []

    def add(self, value: float, time: int) -> None:
        """Add the error of a label at `time` (ms)."""
        if self._count % self._block == 0:
            if len(self._sums) == self._limit:
                self._halve()
            self._sums.append(0.0)
            self._times.append(time)
        self._sums[-1] += value
        self._total += value
        self._count += 1

    def cut(self, width: int, total: float) -> Change:
        """Return the cut before the last `width` labels, whose errors add up to `total`."""
        dropped = self._count - width
        before = (self._total - total) / dropped
        return Change(before, total / width, width, self._times[dropped // self._block])

    def best_cut(self) -> Change:
        """Return the cut between blocks with the most significant rise of the mean (Hinkley, 1970).

        If the mean rises at no cut, return the whole window without a rise.
        """
        best, left, mean = 0.0, 0.0, self._total / self._count
        found = Change(mean, mean, self._count, self._times[0])
        for index, total in enumerate(self._sums[:-1], start=1):
            left += total
            at = index * self._block
            before, after = left / at, (self._total - left) / (self._count - at)
            contrast = sqrt(at * (self._count - at)) * (after - before)
            if contrast > best:
                best, found = contrast, Change(before, after, self._count - at, self._times[index])
        return found

    def around(self, time: int) -> tuple[int, float, int, float]:
        """Return the labels and the sum of the blocks that began before `time` (ms), then of the others."""
        later = [index for index, began in enumerate(self._times) if began >= time]
        labels = sum(min(self._block, self._count - index * self._block) for index in later)
        total = sum(self._sums[index] for index in later)
        return self._count - labels, self._total - total, labels, total

    def _halve(self) -> None:
        self._block *= 2
        self._sums = [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)]
        self._times = self._times[::2]


class SliceErrors:
    """The errors of the first `MOST` slices; later slices are ignored."""

    MOST = 100

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._windows: dict[tuple[str, str], ErrorWindow] = {}

    def add(self, values: Sequence[Any], error: float, time: int) -> None:
        """Add the error of a label whose event has these values in the slice columns."""
        for column, value in zip(self.columns, values, strict=True):
            key = (column, str(value))
            window = self._windows.get(key)
            if window is None and len(self._windows) < self.MOST:
                window = self._windows[key] = ErrorWindow(limit=64)
            if window is not None:
                window.add(error, time)

    def moved(self, since: int) -> tuple[SliceMove, ...]:
        """Return up to three slices whose error rose at `since` (ms), the largest rise first."""
        moves = []
        for key, window in self._windows.items():
            before, sum_before, after, sum_after = window.around(since)
            if min(before, after) >= LEAST_IN_SLICE:
                moves.append(SliceMove(*key, sum_before / before, sum_after / after, after))
        rises = [move for move in moves if move.after > move.before]
        return tuple(sorted(rises, key=lambda move: move.before - move.after)[:3])
