"""Counts the rows and the bad values of all columns in one interval."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

import numpy as np

from flows.core.drift.columns import number_matrix
from flows.core.drift.quality.policy import MOST_CATEGORIES, Column
from flows.core.drift.quality.reference import BAD, COUNTS, NULL, ROWS, References
from flows.core.drift.statistics import Flags, Floats, Integers

_DECLARED = COUNTS  # counts the values outside the declared range, `BAD` also those outside the learned one

Learner = tuple[References, Flags]  # a reference, and for each column whether it is learning


class Tally:
    """The counts of the current interval; the last count is that of events.

    `columns` are the watched ones by their index in a row. Numbers that are not finite count as null.
    """

    def __init__(self, columns: Mapping[int, Column]) -> None:
        self._places = list(columns)
        is_number = np.array([column.kind == "number" for column in columns.values()], dtype=bool)
        self._numbers = np.flatnonzero(is_number)
        self._categories = np.flatnonzero(~is_number).tolist()
        # NaN for a bound that is not declared
        self._low = np.array([column.low for column in columns.values()], dtype=float)
        self._high = np.array([column.high for column in columns.values()], dtype=float)
        self._is_declared = not (np.isnan(self._low) & np.isnan(self._high)).all()
        self._bounds = self._low, self._high
        self._judged = np.zeros(len(columns), dtype=bool)
        self._categories_seen: list[set[str]] = [set() for _ in columns]
        self._counts = self._empty()

    def judge(self, reference: References, learned: Flags) -> None:
        """Set the ranges and categories by which the columns `learned` are judged.

        A number that was constant in the reference has no learned range.
        """
        size = len(self._places)
        low, high = reference.low[:size], reference.high[:size]
        self._judged = learned[:size]
        has_range = self._judged & (low < high)
        self._bounds = (
            np.where(np.isnan(self._low) & has_range, low, self._low),
            np.where(np.isnan(self._high) & has_range, high, self._high),
        )
        self._categories_seen = reference.categories[:size]

    def take(self) -> tuple[Integers, Integers]:
        """Return the counts of the interval, and what a reference learns of it; start the next interval."""
        counts, self._counts = self._counts, self._empty()
        return counts[:, :COUNTS], counts[:, [ROWS, NULL, _DECLARED]]

    @property
    def events(self) -> int:
        """The number of events so far."""
        return int(self._counts[-1, ROWS])

    def count_events(self, number: int) -> None:
        """Add events whose values do not count."""
        self._counts[-1, ROWS] += number

    def add(self, rows: Sequence[Sequence[Any]], counted: Flags, learners: Iterable[Learner]) -> None:
        """Add rows to the columns `counted`, and their ranges and categories to the references that learn."""
        learners = [learner for learner in learners if learner[1].any()]
        self.count_events(len(rows))
        columns = list(zip(*rows, strict=True))
        at = self._numbers if counted.all() else self._numbers[counted[self._numbers]]
        if len(at):
            values = number_matrix([columns[self._places[each]] for each in at.tolist()])
            self._add_numbers(at, values, learners)
        for each in self._categories:
            if counted[each]:
                known = [str(value) for value in columns[self._places[each]] if value is not None]
                self._counts[each, :BAD] += len(rows), len(rows) - len(known)
                self._add_categories(each, known, learners)

    def _add_numbers(self, at: Integers, values: Floats, learners: Iterable[Learner]) -> None:
        finite = np.isfinite(values)
        low = np.where(finite, values, inf).min(axis=1)
        high = np.where(finite, values, -inf).max(axis=1)
        self._counts[at, ROWS] += values.shape[1]
        self._counts[at, NULL] += values.shape[1] - finite.sum(axis=1)
        for reference, learning in learners:
            learns = learning[at]
            reference.widen(at[learns], low[learns], high[learns])
        extremes = (values, finite, low, high)
        self._count_outside(BAD, at, *extremes, *self._bounds)
        if self._is_declared:
            self._count_outside(_DECLARED, at, *extremes, self._low, self._high)

    def _count_outside(
        self,
        count: int,
        at: Integers,
        values: Floats,
        finite: Flags,
        low: Floats,
        high: Floats,
        lows: Floats,
        highs: Floats,
    ) -> None:
        """Count the finite values out of bounds, of which NaN is none.

        `low` and `high` are the smallest and the largest values; nearly always they are within the bounds.
        """
        lows, highs = lows[at], highs[at]
        for row in ((low < lows) | (high > highs)).nonzero()[0]:
            outside = (values[row] < lows[row]) | (values[row] > highs[row])
            self._counts[at[row], count] += (finite[row] & outside).sum()

    def _add_categories(self, at: int, known: Sequence[str], learners: Iterable[Learner]) -> None:
        for reference, learning in learners:
            if learning[at]:
                _learn_categories(reference.categories[at], known)
        seen = self._categories_seen[at]
        if self._judged[at] and len(seen) <= MOST_CATEGORIES and not seen.issuperset(known):
            self._counts[at, BAD] += sum(value not in seen for value in known)

    def _empty(self) -> Integers:
        counts = np.zeros((len(self._places) + 1, COUNTS + 1), dtype=np.int64)
        counts[-1, _DECLARED] = 1  # so a reference counts the intervals
        return counts


def _learn_categories(seen: set[str], values: Sequence[str]) -> None:
    """Add to the categories seen, up to one above the limit."""
    for value in values:
        if len(seen) > MOST_CATEGORIES:
            return
        seen.add(value)
