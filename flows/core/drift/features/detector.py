"""The detector of feature and prediction drift over a stream of rows."""

from collections.abc import Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any

import numpy as np

from flows.core.drift.columns import NOT_COMPARED, ColumnKind
from flows.core.drift.features.comparison import ColumnGroup, Result
from flows.core.drift.features.policy import ComparedWindow, DriftedColumn, FeatureAlarm, FeaturePolicy
from flows.core.drift.levels import NAMED, Cleared, Gate, Level, Position
from flows.core.drift.p_values import adjusted
from flows.core.drift.statistics import Integers


class FeatureDrift:
    """Watches the columns of a stream of rows; `columns` are in the order of a row's values.

    `fills` is how long (ms of event time) the windows of a column take to fill; its reference starts after
    that. A column whose windows never fill (`inf`) is not watched.

    Alarms of other kinds name the `furthest` columns. `compared` has the PSI of all columns. `slices` names
    category columns by which the means of numbers are broken down. State: at most 4,096 rows for each
    different fill time while the reference fills; then 8 bytes for each column, phase and bin, and 32 for
    each number and value of a slice column (at most 51).
    """

    def __init__(
        self,
        columns: Mapping[str, ColumnKind],
        policy: FeaturePolicy,
        slices: Sequence[str] = (),
        fills: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._columns = tuple(columns)
        self._policy = policy
        self._gate = Gate(0, policy.cool_down)
        fill = {name: fills.get(name, 0) for name in columns}
        self._groups = [
            ColumnGroup(columns, [name for name in columns if fill[name] == each], policy, slices, int(each))
            for each in sorted(set(fill.values()))
            if each < inf
        ]
        self._newest: int | None = None  # event time (ms)
        self._width = 0  # rows in the window
        self._since = 0
        self._is_raised = False  # since the last window without drift
        self._results: tuple[Result, ...] = ()  # of the last full window
        self.compared: ComparedWindow | None = None

    @property
    def furthest(self) -> tuple[DriftedColumn, ...]:
        """The five columns with the largest PSI in the last full window, drifted or not."""
        return self.compared_columns[:NAMED]

    @property
    def compared_columns(self) -> tuple[DriftedColumn, ...]:
        """The comparable columns of the last full window, drifted or not, the largest PSI first."""
        return tuple(_drifted(self._results))

    def update(
        self, rows: Sequence[Sequence[Any]], times: Sequence[int], positions: Sequence[Position]
    ) -> list[FeatureAlarm | Cleared]:
        """Add a batch of rows with their event times (ms); the size of batches does not affect the result.

        An alarm or a warning clears with the first full window without drift.
        """
        alarms: list[FeatureAlarm | Cleared] = []
        start, newest = 0, self._advance(times)
        while start < len(rows):
            if self._width == 0:
                self._join()
            end = min(len(rows), start + self._room(newest[start:]))
            self._add(rows[start:end], times[start:end], newest[start:end])
            if self._width == self._policy.window:
                alarms += self._judge(times[end - 1], positions[end - 1])
            start = end
        return alarms

    def _advance(self, times: Sequence[int]) -> Integers:
        """Return the latest event time at each row; windows fill from the first one on."""
        at = np.asarray(times, dtype=np.int64)
        if len(at) == 0:
            return at
        if self._newest is None:
            for group in self._groups:
                group.start(int(at[0]))
        else:
            at = np.maximum(at, self._newest)
        newest: Integers = np.maximum.accumulate(at)
        self._newest = int(newest[-1])
        return newest

    def _join(self) -> None:
        """Let groups with a full reference join the comparison, at the start of a window."""
        for group in self._groups:
            group.joined = group.comparison is not None

    def _room(self, newest: Integers) -> int:
        """Return the rows until a reference or the window is full, at least 1."""
        rooms = [group.room(newest) for group in self._groups if group.comparison is None]
        if any(group.joined for group in self._groups):
            rooms.append(self._policy.window - self._width)
        return min(rooms, default=len(newest))

    def _add(self, rows: Sequence[Sequence[Any]], times: Sequence[int], newest: Integers) -> None:
        """Add rows, which end at the next boundary at the latest, to the window and to filling references."""
        if self._width == 0:
            self._since = times[0]
        if any(group.joined for group in self._groups):
            self._width += len(rows)
            values = list(zip(*rows, strict=True))
            for group in self._groups:
                if group.joined and group.comparison is not None:
                    group.comparison.add(values, times)
        for group in self._groups:
            if group.comparison is None:
                group.fill(rows, times, newest)

    def _judge(self, time: int, position: Position) -> list[FeatureAlarm | Cleared]:
        self._results, policy = self._compare(), self._policy
        moved = self._moved()
        since, width, self._width = self._since, self._width, 0
        known = {name: result.psi for name, result, _ in self._results if result != NOT_COMPARED}
        psi: dict[str, float | None] = {name: known.get(name) for name in self._columns}
        self.compared = ComparedWindow(since, psi)
        if not moved:
            was_raised, self._is_raised = self._is_raised, False
            return [Cleared(position)] if was_raised else []
        level: Level = "alarm" if moved[0].psi >= policy.alarm else "warning"
        if not self._gate.is_open(level, 0, time):
            return []
        self._gate.close(level, time)
        self._is_raised = True
        if level == "alarm":
            for group in self._groups:
                group.restart()
        return [FeatureAlarm(level, moved, width, since, position)]

    def _compare(self) -> tuple[Result, ...]:
        """Return the result of each column, and start a new window."""
        return tuple(each for group in self._groups if group.joined for each in group.compare())

    def _moved(self) -> tuple[DriftedColumn, ...]:
        """Return the columns that drifted, the largest PSI first."""
        warning, significance = self._policy.warning, self._policy.significance
        large = [result for _, result, _ in self._results if result.psi >= warning]
        if all(result.least_p_value() > significance for result in large):
            return ()  # nearly always; an adjusted p-value is not below the p-value
        drifted = _drifted(self._results, significance)
        return tuple(each for each in drifted if each.p_value <= significance and each.psi >= warning)


def _drifted(results: Sequence[Result], highest: float = 1.0) -> list[DriftedColumn]:
    """Return the comparable columns with their adjusted p-values, the largest PSI first.

    A p-value above `highest` may count as 1, since no adjusted p-value up to `highest` depends on it.
    """
    adjusted_values = adjusted(
        [1.0 if result.least_p_value() > highest else result.p_value() for _, result, _ in results]
    )
    columns = [
        DriftedColumn(name, r.psi, r.statistic, float(p), r.before, r.after, r.category, slices)
        for (name, r, slices), p in zip(results, adjusted_values, strict=True)
        if r != NOT_COMPARED
    ]
    return sorted(columns, key=lambda moved: -moved.psi)
