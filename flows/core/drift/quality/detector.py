"""The detector of data quality over a stream of rows."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from math import inf
from typing import Any, NamedTuple

import numpy as np

from flows.core.drift.levels import Cleared, Gate, Level, Position
from flows.core.drift.quality.policy import LEAST_ROWS, Column, Finding, QualityPolicy
from flows.core.drift.quality.trackers import CategoryTracker, ColumnTracker, NumberTracker, RateTracker


class QualityAlarm(NamedTuple):
    """An interval with findings, the worst first; it began at `since` (ms) and has `width` rows."""

    level: Level
    findings: tuple[Finding, ...]
    width: int
    since: int
    position: Position


class DataQuality:
    """Watches the columns of a stream of rows; `columns` are in the order of a row's values.

    A row older than the current interval counts in the current one. State: for each column fourteen numbers
    for each interval of a period, and at most 2,000 categories.
    """

    def __init__(self, columns: Mapping[str, Column], policy: QualityPolicy) -> None:
        self._policy = policy
        self._rate = RateTracker(policy)
        self._columns: dict[int, ColumnTracker] = {  # by index in a row
            at: (NumberTracker if column.kind == "number" else CategoryTracker)(name, column, policy)
            for at, (name, column) in enumerate(columns.items())
            if column.fill < inf
        }
        self._gate = Gate(0, policy.cool_down)
        self._interval: int | None = None  # the number of the current interval
        self._rows = 0
        self._is_raised = False  # since the last interval without a finding

    def update(
        self, rows: Sequence[Sequence[Any]], times: Sequence[int], positions: Sequence[Position]
    ) -> list[QualityAlarm | Cleared]:
        """Add a batch of rows with their event times (ms); the size of batches does not affect the result.

        An alarm or a warning clears with the first interval that has enough rows and no finding.
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
            values = list(zip(*(rows[i] for i in indices), strict=True))
            for at, column in self._columns.items():
                if number >= column.begin:
                    column.add(values[at])
        return alarms

    def _start(self, time: int) -> None:
        self._interval = time // self._policy.interval
        for column in self._columns.values():
            column.start(time)

    def _advance(self, number: int, position: Position) -> Iterator[QualityAlarm | Cleared]:
        """Complete the intervals before `number`; of a gap, the first period of empty ones is enough."""
        began = number if self._interval is None else self._interval
        for interval in range(began, min(number, began + 1 + self._policy.parts)):
            yield from self._finish(interval, position)
        self._interval = number

    def _finish(self, interval: int, position: Position) -> Iterator[QualityAlarm | Cleared]:
        found = self._rate.finish(interval)
        for column in self._columns.values():
            found += column.finish(interval)
        findings = tuple(sorted(found, key=_severity))
        width, self._rows = self._rows, 0
        if not findings:
            if self._is_raised and width >= LEAST_ROWS:
                self._is_raised = False
                yield Cleared(position)
            return
        level, end = findings[0].level, (interval + 1) * self._policy.interval
        if self._gate.is_open(level, 0, end):
            self._gate.close(level, end)
            self._is_raised = True
            yield QualityAlarm(level, findings, width, interval * self._policy.interval, position)


def _severity(finding: Finding) -> tuple[int, float]:
    """Return a sort key that puts alarms before warnings, and the largest change first."""
    return {"alarm": 0, "warning": 1}[finding.level], -abs(finding.after - finding.before)
