"""Feature and prediction drift: windows of what was served against a reference window.

The reference is what came first; then each full window is compared with it, column by column, and after an
alarm a new reference begins. A column has drifted if the difference is both significant and large:

- Significant: Kolmogorov-Smirnov for numbers, chi-square for categories, on the effective number of rows.
  Neighbouring rows are alike: with an autocorrelation of .9, 19 of them tell as much as one. How many do is
  estimated from the variance of block means in the reference; chi-square divided by it is the first-order
  correction of Rao and Scott (1984). The p-values of all columns go through Benjamini and Hochberg's
  procedure (1995): where nothing drifted it bounds the chance of any alarm, as Bonferroni's does, and where
  something did it bounds the share of wrongly named columns, and so names more of the right ones.
- Large: the population stability index (PSI) of ten bins, or of the categories; by convention .1 is a warning
  and .25 an alarm. With many rows everything is significant, but not everything matters.

With a period each row is compared with the reference rows of the same phase, so that a window of nights is no
drift. Nulls are left out here; they are a matter of data quality. What a model says is a column like what it
is given: with a detector of its own it is prediction drift.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from flows.core.drift.columns import (
    NOT_COMPARED,
    CategoryColumn,
    ColumnComparison,
    ColumnKind,
    Integers,
    NumberColumn,
    SliceMeans,
)
from flows.core.drift.levels import Cleared, Gate, Level, Position, SliceMove

KEPT = 4096  # rows that are kept of a reference until it is full
_GOLDEN = 0.6180339887498949
_NAMED = 5


class FeaturePolicy(NamedTuple):
    """When the difference from the reference is drift.

    `reference` and `window` are in rows, `cool_down` and `period` in milliseconds of event time. A reference
    lasts two periods at least, each in `phases` parts. `warning` and `alarm` are PSI.
    """

    reference: int = 4096
    window: int = 1000
    significance: float = 0.01
    warning: float = 0.1
    alarm: float = 0.25
    cool_down: int = 0
    period: int | None = None
    phases: int = 24


class DriftedColumn(NamedTuple):
    """A column that drifted.

    `statistic` is Kolmogorov-Smirnov's or chi-square's, `p_value` what Benjamini and Hochberg make of its
    own. `before` and `after` are the means of a number, or the shares of the `category` whose share moved
    most.
    """

    column: str
    psi: float
    statistic: float
    p_value: float
    before: float
    after: float
    category: str | None
    slices: tuple[SliceMove, ...]


class FeatureAlarm(NamedTuple):
    """The columns that drifted, the furthest first, in a window of `width` rows since `since` (ms)."""

    level: Level
    moved: tuple[DriftedColumn, ...]
    width: int
    since: int
    position: Position


class ComparedWindow(NamedTuple):
    """A full window that began at `since` (ms), and the PSI of each column in it; None for too few rows."""

    since: int
    psi: Mapping[str, float | None]


class FeatureDrift:
    """Watches the columns of a stream of rows; `columns` are in the order of a row's values.

    `fills` has how long (ms of event time) the windows of a column take to fill: its reference begins that
    long after the first row. A column that fills never (`inf`) is not watched.

    `furthest` are the five columns that were furthest from the reference in the last full window, drifted
    or not, for an alarm of another kind to name; `compared` has the PSI of all. `slices` names columns of
    categories by which the means of the numbers are told apart. State: at most 4,096 rows for each different
    fill time while the reference fills; then 8 bytes for each column, phase and bin, and 32 for each number
    and value of a slice's column (at most 51).
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
        self._parts = [
            _Part(columns, [name for name in columns if fill[name] == each], policy, slices, int(each))
            for each in sorted(set(fill.values()))
            if each < inf
        ]
        self._newest: int | None = None  # event time (ms)
        self._width = 0  # rows in the window
        self._since = 0
        self._raised = False  # since the last window without a difference
        self.furthest: tuple[DriftedColumn, ...] = ()
        self.compared: ComparedWindow | None = None

    def update(
        self, rows: Sequence[Sequence[Any]], times: Sequence[int], positions: Sequence[Position]
    ) -> list[FeatureAlarm | Cleared]:
        """Take in a batch of rows with their event times (ms); where batches are cut changes no alarm.

        An alarm, or a warning, is over with the first full window that does not differ from the reference.
        """
        alarms: list[FeatureAlarm | Cleared] = []
        start, newest = 0, self._advance(times)
        while start < len(rows):
            end = min(len(rows), start + self._room(newest[start:]))
            self._add(rows[start:end], times[start:end], newest[start:end])
            if self._width == self._policy.window:
                alarms += self._judge(times[end - 1], positions[end - 1])
            start = end
        return alarms

    def _advance(self, times: Sequence[int]) -> Integers:
        """The newest event time at each row; the first one starts the clock by which windows fill."""
        at = np.asarray(times, dtype=np.int64)
        if len(at) == 0:
            return at
        if self._newest is None:
            for part in self._parts:
                part.start(int(at[0]))
        else:
            at = np.maximum(at, self._newest)
        newest: Integers = np.maximum.accumulate(at)
        self._newest = int(newest[-1])
        return newest

    def _room(self, newest: Integers) -> int:
        """Rows until a reference or the window is full; at least 1. Full references join a new window."""
        if self._width == 0:
            for part in self._parts:
                part.joined = part.comparison is not None
        rooms = [part.room(newest) for part in self._parts if part.comparison is None]
        if any(part.joined for part in self._parts):
            rooms.append(self._policy.window - self._width)
        return min(rooms, default=len(newest))

    def _add(self, rows: Sequence[Sequence[Any]], times: Sequence[int], newest: Integers) -> None:
        """Add rows, which go beyond no boundary, to the window and to the references that fill."""
        if self._width == 0:
            self._since = times[0]
        if any(part.joined for part in self._parts):
            self._width += len(rows)
            values = list(zip(*rows, strict=True))
            for part in self._parts:
                if part.joined and part.comparison is not None:
                    part.comparison.add(values, times)
        for part in self._parts:
            if part.comparison is None:
                part.fill(rows, times, newest)

    def _judge(self, time: int, position: Position) -> list[FeatureAlarm | Cleared]:
        furthest, policy = self._compare(), self._policy
        self.furthest = tuple(furthest[:_NAMED])
        moved = tuple(m for m in furthest if m.p_value <= policy.significance and m.psi >= policy.warning)
        since, width, self._width = self._since, self._width, 0
        psi = dict.fromkeys(self._columns) | {each.column: each.psi for each in furthest}
        self.compared = ComparedWindow(since, psi)
        if not moved:
            raised, self._raised = self._raised, False
            return [Cleared(position)] if raised else []
        level: Level = "alarm" if moved[0].psi >= self._policy.alarm else "warning"
        if not self._gate.is_open(level, 0, time):
            return []
        self._gate.close(level, time)
        self._raised = True
        if level == "alarm":
            for part in self._parts:
                part.restart()
        return [FeatureAlarm(level, moved, width, since, position)]

    def _compare(self) -> list[DriftedColumn]:
        """The columns that can be judged, the furthest from the reference first; begins a new window."""
        from scipy.stats import false_discovery_control  # not at the start, which it would slow down

        results = [each for part in self._parts if part.joined for each in part.compare()]
        adjusted = false_discovery_control([result.p_value for _, result, _ in results])
        columns = [
            DriftedColumn(name, r.psi, r.statistic, float(p), r.before, r.after, r.category, slices)
            for (name, r, slices), p in zip(results, adjusted, strict=True)
            if r is not NOT_COMPARED
        ]
        return sorted(columns, key=lambda moved: -moved.psi)


class _Part:
    """The columns `judged`, whose windows fill in the same time `fill` (ms): their reference and window.

    A reference that is full joins the comparison where the next window begins, so that all columns are judged
    together.
    """

    def __init__(
        self,
        columns: Mapping[str, ColumnKind],
        judged: Sequence[str],
        policy: FeaturePolicy,
        slices: Sequence[str],
        fill: int,
    ) -> None:
        self._columns = dict(columns)
        self._judged = list(judged)
        self._policy = policy
        self._slices = [name for name in slices if columns[name] == "category"]
        self._fill = fill
        self._begin = 0  # the time (ms) from which on its windows are full
        self._filling = _Filling(policy)
        self.comparison: _Comparison | None = None
        self.joined = False

    def start(self, time: int) -> None:
        """The first row came at `time` (ms)."""
        self._begin = time + self._fill

    def restart(self) -> None:
        """Begin a new reference, unless the first one still fills."""
        self.comparison, self.joined = None, False

    def room(self, newest: Integers) -> int:
        """Rows until the reference is full."""
        waiting = int(np.searchsorted(newest, self._begin))
        return waiting + self._filling.room(newest[waiting:])

    def fill(self, rows: Sequence[Sequence[Any]], times: Sequence[int], newest: Integers) -> None:
        """Add to the reference what came with full windows."""
        waiting = int(np.searchsorted(newest, self._begin))
        self._filling.add(rows[waiting:], times[waiting:], newest[waiting:])
        if self._filling.is_full:
            self.comparison = _Comparison(
                self._columns, self._judged, self._policy, self._slices, self._filling
            )
            self._filling = _Filling(self._policy)

    def compare(self) -> Iterator[tuple[str, ColumnComparison, tuple[SliceMove, ...]]]:
        """What the window says of each column, and of it in the slices; then begins a new one."""
        if self.comparison is not None:
            yield from self.comparison.results()
            self.comparison.clear()


class _Filling:
    """A reference that still fills: of its rows the first of each equally long stretch, at most `KEPT`."""

    def __init__(self, policy: FeaturePolicy) -> None:
        self._policy = policy
        self._count = 0
        self._first = 0  # ms
        self._share = 1.0
        self._kept: list[tuple[float, int, Sequence[Any]]] = []
        self.is_full = False

    @property
    def rows(self) -> list[Sequence[Any]]:
        """The rows kept, in order."""
        return [row for _, _, row in self._kept]

    @property
    def times(self) -> list[int]:
        """Their event times (ms)."""
        return [time for _, time, _ in self._kept]

    @property
    def stretch(self) -> float:
        """How many rows each kept one stands for."""
        return 1.0 / self._share

    def room(self, newest: Integers) -> int:
        """Rows until it is full, where that is among rows with these newest times; more than those if not."""
        if len(newest) == 0:
            return 1
        by_time = int(np.searchsorted(newest, self._full_at(newest))) + 1
        return max(by_time, self._policy.reference - self._count)

    def add(self, rows: Sequence[Sequence[Any]], times: Sequence[int], newest: Integers) -> None:
        """Add rows, none of them behind the one that makes it full."""
        if len(rows) == 0:
            return
        full_at = self._full_at(newest)
        if self._count == 0:
            self._first = int(newest[0])
        for row, time in zip(rows, times, strict=True):
            self._add(row, time)
        self.is_full = self._count >= self._policy.reference and int(newest[-1]) >= full_at

    def _full_at(self, newest: Integers) -> int:
        """The time (ms) before which it is not full: two periods after its first row."""
        first = self._first if self._count else int(newest[0])
        return first + 2 * (self._policy.period or 0)

    def _add(self, row: Sequence[Any], time: int) -> None:
        lot = self._count * _GOLDEN % 1.0  # evenly spread, and in step with nothing
        self._count += 1
        if lot < self._share:
            self._kept.append((lot, time, row))
        if len(self._kept) > KEPT:
            self._share /= 2
            self._kept = [kept for kept in self._kept if kept[0] < self._share]


class _Comparison:
    """A full reference of the columns `judged`, and the window that is compared with it."""

    def __init__(
        self,
        columns: Mapping[str, ColumnKind],
        judged: Sequence[str],
        policy: FeaturePolicy,
        slices: Sequence[str],
        filled: _Filling,
    ) -> None:
        self._policy = policy
        names = list(columns)
        phases = self._phases(filled.times)
        values = list(zip(*filled.rows, strict=True))
        parts = policy.phases if policy.period else 1
        self._columns: dict[int, NumberColumn | CategoryColumn] = {
            at: (NumberColumn if columns[name] == "number" else CategoryColumn)(
                values[at], phases, parts, filled.stretch
            )
            for at, name in enumerate(names)
            if name in judged
        }
        self._names = {at: names[at] for at in self._columns}
        numbers = [at for at in self._columns if columns[names[at]] == "number"]
        self._slices = [SliceMeans(name, names.index(name), numbers, values) for name in slices]

    def add(self, values: Sequence[Sequence[Any]], times: Sequence[int]) -> None:
        """Add rows, given as columns, to the window."""
        phases = self._phases(times)
        for at, column in self._columns.items():
            column.add(values[at], phases)
        for each in self._slices:
            each.add(values)

    def clear(self) -> None:
        """Begin a new window."""
        for each in (*self._columns.values(), *self._slices):
            each.clear()

    def results(self) -> Iterator[tuple[str, ColumnComparison, tuple[SliceMove, ...]]]:
        """What the window says of each column, and of it in the slices."""
        for at, column in self._columns.items():
            yield self._names[at], column.compare(), self._moved_slices(at)

    def _moved_slices(self, at: int) -> tuple[SliceMove, ...]:
        moves = [move for each in self._slices for move in each.moves(at)]
        return tuple(sorted(moves, key=lambda move: -abs(move.after - move.before))[:3])

    def _phases(self, times: Sequence[int]) -> Integers:
        """The part of the period that each time is in."""
        at = np.asarray(times, dtype=np.int64)
        if self._policy.period is None:
            return np.zeros(len(at), dtype=np.int64)
        return at % self._policy.period * self._policy.phases // self._policy.period
