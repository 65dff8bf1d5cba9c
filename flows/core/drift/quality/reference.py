"""What data quality has learned of the columns, by part of the period."""

from math import inf

import numpy as np

from flows.core.drift.statistics import Flags, Floats, Integers

ROWS, NULL, BAD = range(3)  # the counts of a column in an interval; a bad value is out of range or unseen
COUNTS = 3


class References:
    """The counts of several columns by part of the period, and the ranges and categories seen.

    Columns are given by their index.
    """

    def __init__(self, columns: int, parts: int) -> None:
        self.intervals = np.zeros(columns, dtype=np.int64)
        self.low, self.high = np.full(columns, inf), np.full(columns, -inf)
        self.categories: list[set[str]] = [set() for _ in range(columns)]
        self._counts = np.zeros((parts, columns, COUNTS), dtype=np.int64)
        self._filled = np.zeros((parts, columns), dtype=np.int64)  # intervals with rows
        self._squares = np.zeros((parts, columns, COUNTS))  # sums of count² / rows

    def learn(self, interval: int, learning: Flags, counts: Integers) -> None:
        """Add the counts of the columns that are `learning` in an interval; `counts` are those of all."""
        part, counts = interval % len(self._counts), counts * learning[:, None]
        rows = counts[:, ROWS : ROWS + 1]
        self.intervals += learning
        self._counts[part] += counts
        self._filled[part] += rows[:, 0] > 0
        self._squares[part] += np.where(rows > 0, counts**2 / np.maximum(1, rows), 0.0)

    def dispersion(self, interval: int, at: int, fault: int) -> float:
        """Return the variance of a share between intervals relative to chance (Pearson), at least 1."""
        part = interval % len(self._counts)
        count, rows = int(self._counts[part, at, fault]), int(self._counts[part, at, ROWS])
        freedom = int(self._filled[part, at]) - 1
        if freedom < 1 or not 0 < count < rows:
            return 1.0
        share = count / rows
        statistic = (float(self._squares[part, at, fault]) - count * share) / (share * (1 - share))
        return max(1.0, statistic / freedom)

    def of(self, interval: int) -> Integers:
        """Return the counts of all columns in the part of the period that the interval is in."""
        found: Integers = self._counts[interval % len(self._counts)]
        return found

    def widen(self, at: Integers, low: Floats, high: Floats) -> None:
        """Extend the ranges of the columns `at`."""
        self.low[at] = np.minimum(self.low[at], low)
        self.high[at] = np.maximum(self.high[at], high)

    def replace(self, at: Integers, other: "References") -> None:
        """Replace what is known of the columns `at` by what `other` knows of them."""
        self.intervals[at] = other.intervals[at]
        self.low[at], self.high[at] = other.low[at], other.high[at]
        for each in at:
            self.categories[each] = other.categories[each]
        self._counts[:, at] = other._counts[:, at]
        self._filled[:, at] = other._filled[:, at]
        self._squares[:, at] = other._squares[:, at]
