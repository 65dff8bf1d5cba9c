"""Data quality: nulls, values out of range, unseen categories and the rate of events, interval by interval.

What is usual in a column is learned in the first intervals in which its windows are full; then each interval
is compared with it. A share of bad values alarms on how much it rose, as long as that is more than it varies
by chance or from interval to interval: a fault in a source breaks many values at once. With a period the rate
and the shares are those usual in the same part of it: after a night without events many windows are empty.

What stays bad for as long as the warm-up lasts becomes usual: it is learned beside the reference from the
first bad interval on, and dropped when nothing was bad for a whole period. Intervals without a finding change
no reference, so that a slow change adds up until it is found.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from math import ceil, inf, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np

from flows.core.drift.columns import ColumnKind, Floats, floats
from flows.core.drift.levels import Cleared, Gate, Level, Position

Fault = Literal["null", "range", "unseen", "rate"]

MOST_CATEGORIES = 1000  # a column with more of them has no unseen ones
_LEAST_ROWS = 30  # in an interval, or usual in it, for a share or a rate to be judged
_ERRORS = 4  # standard errors that a rise must exceed
RATE = "(events)"  # where a column's name stands otherwise


class Column(NamedTuple):
    """What a column holds. The range is the declared one; a bound left out is learned.

    `fill` is how long (ms of event time) its windows take to fill. A column that fills never (`inf`) is not
    watched.
    """

    kind: ColumnKind
    low: float | None = None
    high: float | None = None
    fill: float = 0


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

    @property
    def parts(self) -> int:
        """The intervals of a period."""
        return self.period // self.interval if self.period else 1

    @property
    def learned(self) -> int:
        """The intervals that say what is usual."""
        return max(self.warm_up, self.parts)


class Finding(NamedTuple):
    """What is bad: a share of the column's rows, usually and now; of "rate" the events in an interval."""

    column: str
    fault: Fault
    level: Level
    before: float
    after: float


class QualityAlarm(NamedTuple):
    """An interval with bad data, beginning at `since` (ms), `width` rows; the worst finding first."""

    level: Level
    findings: tuple[Finding, ...]
    width: int
    since: int
    position: Position


class DataQuality:
    """Watches the columns of a stream of rows; `columns` are in the order of a row's values.

    A row behind the newest interval counts in that one. State: for each column fourteen numbers for each
    interval of a period, and at most 2,000 categories.
    """

    def __init__(self, columns: Mapping[str, Column], policy: QualityPolicy) -> None:
        self._policy = policy
        self._rate = _Rate(policy)
        self._watches: dict[int, _Column] = {  # by the place in a row
            at: (_Numbers if column.kind == "number" else _Categories)(name, column, policy)
            for at, (name, column) in enumerate(columns.items())
            if column.fill < inf
        }
        self._gate = Gate(0, policy.cool_down)
        self._interval: int | None = None  # the number of the one that fills
        self._rows = 0
        self._raised = False  # since the last interval without a finding

    def update(
        self, rows: Sequence[Sequence[Any]], times: Sequence[int], positions: Sequence[Position]
    ) -> list[QualityAlarm | Cleared]:
        """Take in a batch of rows with their event times (ms); where batches are cut changes nothing.

        An alarm, or a warning, is over with the first judged interval without a finding.
        """
        alarms: list[QualityAlarm | Cleared] = []
        if self._interval is None and times:
            self._start(times[0])
        oldest = 0 if self._interval is None else self._interval
        numbers = np.maximum.accumulate(
            np.maximum(np.asarray(times, dtype=np.int64) // self._policy.interval, oldest)
        )
        for number, group in groupby(range(len(rows)), key=lambda index: int(numbers[index])):
            indices = list(group)
            alarms += self._advance(number, positions[indices[0]])
            self._rows += len(indices)
            self._rate.add(len(indices))
            columns = list(zip(*(rows[i] for i in indices), strict=True))
            for at, watch in self._watches.items():
                if number >= watch.begin:
                    watch.add(columns[at])
        return alarms

    def _start(self, time: int) -> None:
        self._interval = time // self._policy.interval
        for watch in self._watches.values():
            watch.start(time)

    def _advance(self, number: int, position: Position) -> Iterator[QualityAlarm | Cleared]:
        """Finish the intervals before `number`; of those without any row as many as tell something new."""
        began = number if self._interval is None else self._interval
        for interval in range(began, min(number, began + 1 + self._policy.parts)):
            yield from self._finish(interval, position)
        self._interval = number

    def _finish(self, interval: int, position: Position) -> Iterator[QualityAlarm | Cleared]:
        found = self._rate.finish(interval)
        for watch in self._watches.values():
            found += watch.finish(interval)
        findings = tuple(sorted(found, key=lambda each: (each.level, -abs(each.after - each.before))))
        width, self._rows = self._rows, 0
        if not findings:
            if self._raised and width >= _LEAST_ROWS:
                self._raised = False
                yield Cleared(position)
            return
        level, end = findings[0].level, (interval + 1) * self._policy.interval
        if self._gate.is_open(level, 0, end):
            self._gate.close(level, end)
            self._raised = True
            yield QualityAlarm(level, findings, width, interval * self._policy.interval, position)


class _Usual:
    """What is usual: counts for each part of the period, and the values seen."""

    def __init__(self, names: Sequence[str], parts: int) -> None:
        self.intervals = 0
        self.low, self.high = inf, -inf
        self.categories: set[str] = set()
        self._counts = [dict.fromkeys(names, 0) for _ in range(parts)]
        self._filled = [0] * parts  # intervals with rows
        self._squares = [dict.fromkeys(names, 0.0) for _ in range(parts)]  # of counts, over the rows

    def learn(self, interval: int, counts: Mapping[str, int]) -> None:
        """Count the interval as a usual one."""
        self.intervals += 1
        usual, part, rows = self.of(interval), interval % len(self._counts), counts["rows"]
        self._filled[part] += rows > 0
        for name in usual:
            usual[name] += counts[name]
            self._squares[part][name] += counts[name] ** 2 / rows if rows else 0.0

    def dispersion(self, interval: int, name: str) -> float:
        """How much more a share varied by interval than by chance, by Pearson's statistic; 1 or more."""
        usual, part = self.of(interval), interval % len(self._counts)
        count, rows, freedom = usual[name], usual["rows"], self._filled[part] - 1
        if freedom < 1 or not 0 < count < rows:
            return 1.0
        share = count / rows
        statistic = (self._squares[part][name] - count * share) / (share * (1 - share))
        return max(1.0, statistic / freedom)

    def of(self, interval: int) -> dict[str, int]:
        """The counts of the interval's part of the period."""
        return self._counts[interval % len(self._counts)]


class _Watch(ABC):
    """Counts of the interval that fills, and a reference that says what is usual.

    While something is bad a second reference is learned, which takes the first one's place when it is full.
    """

    faults: tuple[Fault, ...]

    def __init__(self, name: str, policy: QualityPolicy) -> None:
        self._name = name
        self._policy = policy
        self._now = dict.fromkeys(("rows", *self.faults), 0)
        self._usual = self._fresh()
        self._next: _Usual | None = None
        self._good = 0  # intervals without a finding since the last one with some

    @abstractmethod
    def findings(self, interval: int, counts: Mapping[str, int]) -> Iterator[Finding]:
        """What is bad in an interval with these counts."""

    def finish(self, interval: int) -> list[Finding]:
        """End an interval, and begin a new one; in the warm-up it is learned, then judged."""
        counts, self._now = self._now, dict.fromkeys(self._now, 0)
        if self._is_learning:
            self._usual.learn(interval, self._usually(counts))
            return []
        if self._next is not None:
            self._next.learn(interval, self._usually(counts))
            if self._next.intervals == self._policy.learned:
                self._usual, self._next = self._next, None
                return []
        found = list(self.findings(interval, counts))
        self._good = 0 if found else self._good + 1
        if found:
            self._next = self._next or self._fresh()
        elif self._good >= self._policy.parts:
            self._next = None
        return found

    @property
    def _is_learning(self) -> bool:
        return self._usual.intervals < self._policy.learned

    def _learners(self) -> Iterator[_Usual]:
        """The references that learn which values there are."""
        if self._is_learning:
            yield self._usual
        if self._next is not None:
            yield self._next

    def _usually(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """What a reference learns from the counts of an interval."""
        return counts

    def _fresh(self) -> _Usual:
        return _Usual(list(self._now), self._policy.parts)


class _Rate(_Watch):
    """The events in an interval."""

    faults = ("rate",)

    def __init__(self, policy: QualityPolicy) -> None:
        super().__init__(RATE, policy)

    def add(self, rows: int) -> None:
        """Count some rows."""
        self._now["rows"] += rows

    def findings(self, interval: int, counts: Mapping[str, int]) -> Iterator[Finding]:
        usual = self._usual.of(interval)
        rows, events = counts["rows"], usual["rows"] / max(1, usual["rate"])
        if max(events, rows) < _LEAST_ROWS:
            return
        factor = max(events, rows) / max(1.0, min(events, rows))
        level = _level(factor, self._policy.rate_warning, self._policy.rate_alarm)
        if level:
            yield Finding(RATE, "rate", level, events, float(rows))

    def _usually(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        return {"rows": counts["rows"], "rate": 1}  # one interval


class _Column(_Watch):
    """The rows of one column and the bad ones among them."""

    def __init__(self, name: str, column: Column, policy: QualityPolicy) -> None:
        super().__init__(name, policy)
        self._column = column
        self.begin = 0  # the first interval whose windows are full

    def start(self, time: int) -> None:
        """The first row came at `time` (ms)."""
        self.begin = ceil((time + self._column.fill) / self._policy.interval) if self._column.fill else 0

    @abstractmethod
    def add(self, values: Sequence[Any]) -> None:
        """Take in the values of some rows."""

    def finish(self, interval: int) -> list[Finding]:
        return super().finish(interval) if interval >= self.begin else []

    def findings(self, interval: int, counts: Mapping[str, int]) -> Iterator[Finding]:
        """The shares that rose."""
        usual = self._usual.of(interval)
        now, rows = counts["rows"], usual["rows"]
        if now < _LEAST_ROWS:
            return
        for fault in self.faults:
            before, after = usual[fault] / max(1, rows), counts[fault] / now
            level = _level(after - before, self._policy.warning, self._policy.alarm)
            chance = (usual[fault] + 1) / (rows + 2)  # by Laplace, so that it is never 0
            variance = chance * (1 - chance) * (1 / now + 1 / (rows + 1))
            if level and after - before > _ERRORS * sqrt(variance * self._usual.dispersion(interval, fault)):
                yield Finding(self._name, fault, level, before, after)


class _Numbers(_Column):
    """What is no finite number counts as null. Where a number never changed, no range is learned."""

    faults = ("null", "range")

    def __init__(self, name: str, column: Column, policy: QualityPolicy) -> None:
        super().__init__(name, column, policy)
        self._declared = _or(column.low, -inf), _or(column.high, inf)
        self._now = self._now | {"declared": 0}  # out of the declared range, not only of the learned one
        self._usual = self._fresh()

    def add(self, values: Sequence[Any]) -> None:
        given = floats(values)
        known = given[np.isfinite(given)]
        self._now["rows"] += len(values)
        self._now["null"] += len(values) - len(known)
        if len(known):
            low, high = float(known.min()), float(known.max())
            for each in self._learners():
                each.low, each.high = min(each.low, low), max(each.high, high)
            self._now["range"] += _outside(known, low, high, self._range())
            self._now["declared"] += _outside(known, low, high, self._declared)

    def _range(self) -> tuple[float, float]:
        """The bounds that are declared, else those that are learned."""
        usual, (low, high) = self._usual, self._declared
        if self._is_learning or usual.low >= usual.high:
            return low, high
        return _or(self._column.low, usual.low), _or(self._column.high, usual.high)

    def _usually(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        return {**counts, "range": counts["declared"]}


class _Categories(_Column):
    faults = ("null", "unseen")

    def add(self, values: Sequence[Any]) -> None:
        known = [str(value) for value in values if value is not None]
        for each in self._learners():
            _learn_categories(each.categories, known)
        self._now["rows"] += len(values)
        self._now["null"] += len(values) - len(known)
        seen = self._usual.categories
        if not self._is_learning and len(seen) <= MOST_CATEGORIES:
            self._now["unseen"] += sum(value not in seen for value in known)

    def _usually(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        return {**counts, "unseen": 0}


def _learn_categories(seen: set[str], values: Sequence[str]) -> None:
    """Add to the categories seen, until there are too many of them."""
    for value in values:
        if len(seen) > MOST_CATEGORIES:
            return
        seen.add(value)


def _outside(values: Floats, low: float, high: float, bounds: tuple[float, float]) -> int:
    """How many values, of which `low` and `high` are the least and the largest, are out of bounds."""
    if bounds[0] <= low and high <= bounds[1]:
        return 0
    return int(((values < bounds[0]) | (values > bounds[1])).sum())


def _or(bound: float | None, other: float) -> float:
    return other if bound is None else bound


def _level(value: float, warning: float, alarm: float) -> Level | None:
    """The level that a value reaches, if any.

    >>> _level(0.01, 0.05, 0.2), _level(0.05, 0.05, 0.2), _level(0.3, 0.05, 0.2)
    (None, 'warning', 'alarm')
    """
    if value >= alarm:
        return "alarm"
    return "warning" if value >= warning else None
