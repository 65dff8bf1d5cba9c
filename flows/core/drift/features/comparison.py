"""The comparison of a window with a full reference, for the columns that have the same fill time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flows.core.drift.columns import (
    CategoryColumn,
    ColumnComparison,
    ColumnKind,
    NumberColumn,
    SliceMeans,
)
from flows.core.drift.features.policy import FeaturePolicy
from flows.core.drift.features.reference import ReferenceSample
from flows.core.drift.levels import SliceMove
from flows.core.drift.statistics import Integers


class ColumnGroup:
    """The reference and the window of the columns `watched`, whose windows all take `fill` ms to fill.

    A full reference joins the comparison at the start of the next window, so all columns are compared over
    the same window.
    """

    def __init__(
        self,
        columns: Mapping[str, ColumnKind],
        watched: Sequence[str],
        policy: FeaturePolicy,
        slices: Sequence[str],
        fill: int,
    ) -> None:
        self._columns = dict(columns)
        self._watched = list(watched)
        self._policy = policy
        self._slices = [name for name in slices if columns[name] == "category"]
        self._fill = fill
        self._begin = 0  # the time (ms) from which windows are full
        self._sample = ReferenceSample(policy)
        self.comparison: WindowComparison | None = None
        self.joined = False

    def start(self, time: int) -> None:
        """Set the time (ms) of the first row, from which windows begin to fill."""
        self._begin = time + self._fill

    def restart(self) -> None:
        """Start a new reference; one that is still filling continues."""
        self.comparison, self.joined = None, False

    def room(self, newest: Integers) -> int:
        """Return the rows until the reference is full, given the latest event times at the next rows."""
        waiting = int(np.searchsorted(newest, self._begin))
        return waiting + self._sample.room(newest[waiting:])

    def fill(self, rows: Sequence[Sequence[Any]], times: Sequence[int], newest: Integers) -> None:
        """Add the rows with full windows to the reference."""
        waiting = int(np.searchsorted(newest, self._begin))
        self._sample.add(rows[waiting:], times[waiting:], newest[waiting:])
        if self._sample.is_full:
            self.comparison = WindowComparison(
                self._columns, self._watched, self._policy, self._slices, self._sample
            )
            self._sample = ReferenceSample(self._policy)

    def compare(self) -> Iterator[tuple[str, ColumnComparison, tuple[SliceMove, ...]]]:
        """Yield the result for each column and its slices, then start a new window."""
        if self.comparison is not None:
            yield from self.comparison.results()
            self.comparison.clear()


class WindowComparison:
    """A full reference of the columns `watched`, and the window that is compared with it."""

    def __init__(
        self,
        columns: Mapping[str, ColumnKind],
        watched: Sequence[str],
        policy: FeaturePolicy,
        slices: Sequence[str],
        sample: ReferenceSample,
    ) -> None:
        self._policy = policy
        names = list(columns)
        phases = self._phases(sample.times)
        values = list(zip(*sample.rows, strict=True))
        parts = policy.phases if policy.period else 1
        self._columns: dict[int, NumberColumn | CategoryColumn] = {
            at: (NumberColumn if columns[name] == "number" else CategoryColumn)(
                values[at], phases, parts, sample.stretch
            )
            for at, name in enumerate(names)
            if name in watched
        }
        self._names = {at: names[at] for at in self._columns}
        numbers = [at for at in self._columns if columns[names[at]] == "number"]
        self._slices = [SliceMeans(name, names.index(name), numbers, values) for name in slices]

    def add(self, values: Sequence[Sequence[Any]], times: Sequence[int]) -> None:
        """Add rows, given by column, to the window."""
        phases = self._phases(times)
        for at, column in self._columns.items():
            column.add(values[at], phases)
        for each in self._slices:
            each.add(values)

    def clear(self) -> None:
        """Start a new window."""
        for each in (*self._columns.values(), *self._slices):
            each.clear()

    def results(self) -> Iterator[tuple[str, ColumnComparison, tuple[SliceMove, ...]]]:
        """Yield the result for each column and its slices."""
        for at, column in self._columns.items():
            yield self._names[at], column.compare(), self._moved_slices(at)

    def _moved_slices(self, at: int) -> tuple[SliceMove, ...]:
        moves = [move for each in self._slices for move in each.moves(at)]
        return tuple(sorted(moves, key=lambda move: -abs(move.after - move.before))[:3])

    def _phases(self, times: Sequence[int]) -> Integers:
        """Return the phase of the period of each time."""
        at = np.asarray(times, dtype=np.int64)
        if self._policy.period is None:
            return np.zeros(len(at), dtype=np.int64)
        return at % self._policy.period * self._policy.phases // self._policy.period
