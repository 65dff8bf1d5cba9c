"""Counts for data quality: the rate of events, and the bad values of each column."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, inf, sqrt
from typing import Any

import numpy as np

from flows.core.drift.columns import floats
from flows.core.drift.quality.policy import (
    LEAST_ROWS,
    MOST_CATEGORIES,
    RATE,
    Column,
    Finding,
    QualityPolicy,
    level_of,
)
from flows.core.drift.quality.reference import QualityTracker
from flows.core.drift.statistics import Floats

_ERRORS = 4  # standard errors that a rise must exceed


class RateTracker(QualityTracker):
    """The number of events in an interval."""

    faults = ("rate",)

    def __init__(self, policy: QualityPolicy) -> None:
        super().__init__(RATE, policy)

    def add(self, rows: int) -> None:
        """Add this number of rows to the current interval."""
        self._counts["rows"] += rows

    def findings(self, interval: int, counts: Mapping[str, int]) -> Iterator[Finding]:
        reference = self._reference.of(interval)
        rows, expected = counts["rows"], reference["rows"] / max(1, reference["rate"])
        if max(expected, rows) < LEAST_ROWS:
            return
        factor = max(expected, rows) / max(1.0, min(expected, rows))
        level = level_of(factor, self._policy.rate_warning, self._policy.rate_alarm)
        if level:
            yield Finding(RATE, "rate", level, expected, float(rows))

    def _learnable(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        return {"rows": counts["rows"], "rate": 1}  # "rate" counts the intervals


class ColumnTracker(QualityTracker):
    """The rows of one column, and the bad ones among them."""

    def __init__(self, name: str, column: Column, policy: QualityPolicy) -> None:
        super().__init__(name, policy)
        self._column = column
        self.begin = 0  # the first interval with full windows

    def start(self, time: int) -> None:
        """Set the time (ms) of the first row, from which windows begin to fill."""
        self.begin = ceil((time + self._column.fill) / self._policy.interval) if self._column.fill else 0

    @abstractmethod
    def add(self, values: Sequence[Any]) -> None:
        """Add the column's values in some rows to the current interval."""

    def finish(self, interval: int) -> list[Finding]:
        return super().finish(interval) if interval >= self.begin else []

    def findings(self, interval: int, counts: Mapping[str, int]) -> Iterator[Finding]:
        """Yield the faults whose share rose."""
        reference = self._reference.of(interval)
        now, rows = counts["rows"], reference["rows"]
        if now < LEAST_ROWS:
            return
        for fault in self.faults:
            before, after = reference[fault] / max(1, rows), counts[fault] / now
            level = level_of(after - before, self._policy.warning, self._policy.alarm)
            share = (reference[fault] + 1) / (rows + 2)  # Laplace's estimate, which is never 0
            variance = share * (1 - share) * (1 / now + 1 / (rows + 1))
            dispersion = self._reference.dispersion(interval, fault)
            if level and after - before > _ERRORS * sqrt(variance * dispersion):
                yield Finding(self._name, fault, level, before, after)


class NumberTracker(ColumnTracker):
    """A column of numbers. Values that are not finite count as null.

    A column that was constant in the reference has no learned range.
    """

    faults = ("null", "range")

    def __init__(self, name: str, column: Column, policy: QualityPolicy) -> None:
        super().__init__(name, column, policy)
        self._declared = _default(column.low, -inf), _default(column.high, inf)
        # "declared" counts the values outside the declared range, "range" also those outside the learned one.
        self._counts = self._counts | {"declared": 0}
        self._reference = self._new_reference()

    def add(self, values: Sequence[Any]) -> None:
        numbers = floats(values)
        known = numbers[np.isfinite(numbers)]
        self._counts["rows"] += len(values)
        self._counts["null"] += len(values) - len(known)
        if len(known):
            low, high = float(known.min()), float(known.max())
            for each in self._learning_references():
                each.low, each.high = min(each.low, low), max(each.high, high)
            self._counts["range"] += _count_outside(known, low, high, self._range())
            self._counts["declared"] += _count_outside(known, low, high, self._declared)

    def _range(self) -> tuple[float, float]:
        """Return the declared bounds, and learned ones in place of missing ones."""
        reference, (low, high) = self._reference, self._declared
        if self._is_learning or reference.low >= reference.high:
            return low, high
        return _default(self._column.low, reference.low), _default(self._column.high, reference.high)

    def _learnable(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        return {**counts, "range": counts["declared"]}


class CategoryTracker(ColumnTracker):
    """A column of categories."""

    faults = ("null", "unseen")

    def add(self, values: Sequence[Any]) -> None:
        known = [str(value) for value in values if value is not None]
        for each in self._learning_references():
            _learn_categories(each.categories, known)
        self._counts["rows"] += len(values)
        self._counts["null"] += len(values) - len(known)
        seen = self._reference.categories
        if not self._is_learning and len(seen) <= MOST_CATEGORIES:
            self._counts["unseen"] += sum(value not in seen for value in known)

    def _learnable(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        return {**counts, "unseen": 0}


def _learn_categories(seen: set[str], values: Sequence[str]) -> None:
    """Add to the categories seen, up to one above the limit."""
    for value in values:
        if len(seen) > MOST_CATEGORIES:
            return
        seen.add(value)


def _count_outside(values: Floats, low: float, high: float, bounds: tuple[float, float]) -> int:
    """Return how many values, whose minimum and maximum are `low` and `high`, are out of bounds."""
    if bounds[0] <= low and high <= bounds[1]:
        return 0
    return int(((values < bounds[0]) | (values > bounds[1])).sum())


def _default(bound: float | None, default: float) -> float:
    return default if bound is None else bound
