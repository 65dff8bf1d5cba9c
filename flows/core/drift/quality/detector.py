"""The detector of data quality over a stream of rows."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from flows.core.drift.levels import Cleared, Gate, Level, Position
from flows.core.drift.quality.policy import LEAST_ROWS, Column, Finding, QualityPolicy
from flows.core.drift.quality.trackers import Trackers


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
        watched = {at: each for at, each in enumerate(columns.items()) if each[1].fill < inf}
        self._trackers = Trackers(watched, policy)
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
        if not times:
            return alarms
        length = self._policy.interval
        if self._interval is None:
            self._interval = times[0] // length
            self._trackers.start(times[0])
        start = 0
        for at, time in enumerate(times):
            if time // length > self._interval:
                self._add(rows[start:at])
                alarms += self._advance(time // length, positions[at])
                start = at
        self._add(rows[start:])
        return alarms

    def _add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to the current interval."""
        self._rows += len(rows)
        self._trackers.add(rows, self._interval or 0)

    def _advance(self, number: int, position: Position) -> Iterator[QualityAlarm | Cleared]:
        """Complete the intervals before `number`; of a gap, the first period of empty ones is enough."""
        began = number if self._interval is None else self._interval
        for interval in range(began, min(number, began + 1 + self._policy.parts)):
            yield from self._finish(interval, position)
        self._interval = number

    def _finish(self, interval: int, position: Position) -> Iterator[QualityAlarm | Cleared]:
        findings = tuple(sorted(self._trackers.finish(interval), key=_severity))
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
