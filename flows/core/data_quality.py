"""Data quality: nulls, values out of range, unseen categories and the rate of events, interval by interval.

What is usual is learned in the first intervals; then each interval is compared with it. A share of bad values
alarms on how much it rose, as long as that is more than chance: a fault in a source breaks many values at
once. With a period the rate and the shares are those usual in the same part of it: after a night without
events many a window is empty, and its mean null.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from math import inf, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np

from flows.core.drift import Gate, Level, Over, Position
from flows.core.feature_drift import Kind, floats

Fault = Literal["null", "range", "unseen", "rate"]

MOST_CATEGORIES = 1000  # a column with more of them has no unseen ones
_LEAST_ROWS = 30  # in an interval, or usual in it, for a share or a rate to be judged
_ERRORS = 4  # standard errors that a rise must exceed
RATE = "(events)"  # where a column's name stands otherwise


class Column(NamedTuple):
    """What a column holds. The range is the declared one; a bound left out is learned."""

    kind: Kind
    low: float | None = None
    high: float | None = None


class QualityPolicy(NamedTuple):
    """When data are bad.

    `interval`, `cool_down` and `period`, a multiple of the interval, are in milliseconds of event time;
    `warm_up` is in intervals, by default a week of hours, and lasts a period at least. `warning` and `alarm`
    are rises of a share; `rate_warning` and `rate_alarm` factors by which the events become more or fewer.
    """

    interval: int = 3_600_000
    warm_up: int = 168
    warning: float = 0.05
    alarm: float = 0.2
    rate_warning: float = 2.0
    rate_alarm: float = 5.0
    cool_down: int = 0
    period: int | None = None


class Finding(NamedTuple):
    """What is bad: a share of the column's rows, usually and now; of "rate" the events in an interval."""

    column: str
    fault: Fault
    level: Level
    before: float
    after: float


class Alarm(NamedTuple):
    """An interval with bad data, beginning at `since` (ms), `width` rows; the worst finding first."""

    level: Level
    findings: tuple[Finding, ...]
    width: int
    since: int
    position: Position


class DataQuality:
    """Watches the columns of a stream of rows; `columns` are in the order of a row's values.

    A row behind the newest interval counts in that one. State: for each column three numbers for each
    interval of a period, and at most 1,000 categories.
    """

    def __init__(self, columns: Mapping[str, Column], policy: QualityPolicy) -> None:
        self._policy = policy
        parts = policy.period // policy.interval if policy.period else 1
        self._watches: list[_Watch] = [
            (_Numbers if column.kind == "number" else _Categories)(name, column, parts)
            for name, column in columns.items()
        ]
        self._rate = _Rate(policy)
        self._gate = Gate(0, policy.cool_down)
        self._interval: int | None = None  # the number of the one that fills
        self._finished = 0
        self._rows = 0
        self._raised = False  # since the last interval without a finding

    def update(
        self, rows: Sequence[Sequence[Any]], times: Sequence[int], positions: Sequence[Position]
    ) -> list[Alarm | Over]:
        """Take in a batch of rows with their event times (ms); where batches are cut changes nothing.

        An alarm, or a warning, is over with the first judged interval without a finding.
        """
        alarms: list[Alarm | Over] = []
        oldest = 0 if self._interval is None else self._interval
        numbers = np.maximum.accumulate(
            np.maximum(np.asarray(times, dtype=np.int64) // self._policy.interval, oldest)
        )
        for number, group in groupby(range(len(rows)), key=lambda index: int(numbers[index])):
            indices = list(group)
            alarms += self._advance(number, positions[indices[0]])
            self._rows += len(indices)
            for watch, values in zip(
                self._watches, zip(*(rows[i] for i in indices), strict=True), strict=True
            ):
                watch.add(values, self._learning)
        return alarms

    @property
    def _learning(self) -> bool:
        return self._finished < max(self._policy.warm_up, self._rate.parts)

    def _advance(self, number: int, position: Position) -> Iterator[Alarm | Over]:
        """Finish the intervals before `number`; of those without any row as many as tell something new."""
        if self._interval is None:
            self._interval = number
        latest = min(number, self._interval + 1 + self._rate.parts)
        for interval in range(self._interval, latest):
            yield from self._finish(interval, position)
        self._interval = number

    def _finish(self, interval: int, position: Position) -> Iterator[Alarm | Over]:
        findings, width = self._findings(interval), self._rows
        for watch in self._watches:
            watch.clear()
        self._rows, self._finished = 0, self._finished + 1
        if not findings:
            if self._raised and width >= _LEAST_ROWS:
                self._raised = False
                yield Over(position)
            return
        level, end = findings[0].level, (interval + 1) * self._policy.interval
        if self._gate.is_open(level, 0, end):
            self._gate.close(level, end)
            self._raised = True
            yield Alarm(level, findings, width, interval * self._policy.interval, position)

    def _findings(self, interval: int) -> tuple[Finding, ...]:
        """What is bad in an interval; in the warm-up it is learned as usual."""
        if self._learning:
            self._rate.learn(interval, self._rows)
            for watch in self._watches:
                watch.learn(interval)
            return ()
        found = [*self._rate.findings(interval, self._rows)]
        for watch in self._watches:
            found += watch.findings(interval, self._policy)
        return tuple(sorted(found, key=lambda each: (each.level, -abs(each.after - each.before))))


class _Rate:
    """The events in an interval, for each part of the period."""

    def __init__(self, policy: QualityPolicy) -> None:
        self._policy = policy
        self.parts = policy.period // policy.interval if policy.period else 1
        self._usual = [[0, 0] for _ in range(self.parts)]  # intervals, events

    def learn(self, interval: int, rows: int) -> None:
        part = self._usual[interval % self.parts]
        part[0] += 1
        part[1] += rows

    def findings(self, interval: int, rows: int) -> Iterator[Finding]:
        intervals, events = self._usual[interval % self.parts]
        usual = events / max(1, intervals)
        if max(usual, rows) < _LEAST_ROWS:
            return
        factor = max(usual, rows) / max(1.0, min(usual, rows))
        level = _level(factor, self._policy.rate_warning, self._policy.rate_alarm)
        if level:
            yield Finding(RATE, "rate", level, usual, float(rows))


class _Watch(ABC):
    """The rows of one column and the bad ones among them: usually, and in the interval that fills."""

    faults: tuple[Fault, ...]

    def __init__(self, name: str, column: Column, parts: int) -> None:
        self._name = name
        self._column = column
        self._now = dict.fromkeys(("rows", *self.faults), 0)
        self._usual = [dict(self._now) for _ in range(parts)]

    @abstractmethod
    def add(self, values: Sequence[Any], learning: bool) -> None:
        """Take in the values of some rows; in the warm-up they also say what is usual."""

    def learn(self, interval: int) -> None:
        """The interval was a usual one."""
        usual = self._usual[interval % len(self._usual)]
        for name, count in self._now.items():
            usual[name] += count

    def clear(self) -> None:
        """Begin a new interval."""
        self._now = dict.fromkeys(self._now, 0)

    def findings(self, interval: int, policy: QualityPolicy) -> Iterator[Finding]:
        """The shares that rose."""
        if self._now["rows"] < _LEAST_ROWS:
            return
        counts = self._usual[interval % len(self._usual)]
        usual, now = counts["rows"], self._now["rows"]
        for fault in self.faults:
            before, after = counts[fault] / max(1, usual), self._now[fault] / now
            level = _level(after - before, policy.warning, policy.alarm)
            chance = (counts[fault] + 1) / (usual + 2)  # by Laplace, so that it is never 0
            if level and after - before > _ERRORS * sqrt(chance * (1 - chance) * (1 / now + 1 / (usual + 1))):
                yield Finding(self._name, fault, level, before, after)


class _Numbers(_Watch):
    """What is no finite number counts as null."""

    faults = ("null", "range")

    def __init__(self, name: str, column: Column, parts: int) -> None:
        super().__init__(name, column, parts)
        self._seen = (inf, -inf)

    def add(self, values: Sequence[Any], learning: bool) -> None:
        given = floats(values)
        known = given[np.isfinite(given)]
        if learning and len(known):
            self._seen = (min(self._seen[0], float(known.min())), max(self._seen[1], float(known.max())))
        low = self._seen[0] if self._column.low is None else self._column.low
        high = self._seen[1] if self._column.high is None else self._column.high
        self._now["rows"] += len(values)
        self._now["null"] += len(values) - len(known)
        self._now["range"] += int(((known < low) | (known > high)).sum())


class _Categories(_Watch):
    faults = ("null", "unseen")

    def __init__(self, name: str, column: Column, parts: int) -> None:
        super().__init__(name, column, parts)
        self._seen: set[str] = set()

    def add(self, values: Sequence[Any], learning: bool) -> None:
        known = [str(value) for value in values if value is not None]
        if learning and len(self._seen) <= MOST_CATEGORIES:
            self._learn_categories(known)
        self._now["rows"] += len(values)
        self._now["null"] += len(values) - len(known)
        if len(self._seen) <= MOST_CATEGORIES:
            self._now["unseen"] += sum(value not in self._seen for value in known)

    def _learn_categories(self, values: Sequence[str]) -> None:
        for value in values:
            self._seen.add(value)
            if len(self._seen) > MOST_CATEGORIES:
                return


def _level(value: float, warning: float, alarm: float) -> Level | None:
    """The level that a value reaches, if any.

    >>> _level(0.01, 0.05, 0.2), _level(0.05, 0.05, 0.2), _level(0.3, 0.05, 0.2)
    (None, 'warning', 'alarm')
    """
    if value >= alarm:
        return "alarm"
    return "warning" if value >= warning else None
