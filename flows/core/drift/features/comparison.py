"""The comparison of a window with a full reference, for the columns that have the same fill time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flows.core.drift.columns import (
    BINS,
    CategoryColumn,
    ColumnComparison,
    ColumnKind,
    Distribution,
    NumberColumn,
    SliceMeans,
    number_matrix,
)
from flows.core.drift.features.policy import FeaturePolicy
from flows.core.drift.features.reference import ReferenceSample
from flows.core.drift.levels import SliceMove
from flows.core.drift.statistics import Floats, Integers

Result = tuple[str, ColumnComparison, tuple[SliceMove, ...]]  # the name of a column, and its slices


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

    def compare(self) -> Iterator[Result]:
        """Yield the result for each column and its slices, then start a new window."""
        if self.comparison is not None:
            yield from self.comparison.results()
            self.comparison.clear()

    def distributions(self) -> dict[str, Distribution | None]:
        """Return the distributions of the columns that `compare` would compare now."""
        return {} if self.comparison is None else self.comparison.distributions()


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
        self._parts = policy.phases if policy.period else 1
        names = list(columns)
        self._names = {at: name for at, name in enumerate(names) if name in watched}
        phases = self._phases(sample.times)
        values = list(zip(*sample.rows, strict=True))
        numbered = [at for at, name in self._names.items() if columns[name] == "number"]
        numbers = number_matrix([values[at] for at in numbered])
        shape = (phases, self._parts, sample.stretch)
        self._numbers = {at: NumberColumn(row, *shape) for at, row in zip(numbered, numbers, strict=True)}
        self._categories = {
            at: CategoryColumn(values[at], *shape) for at in self._names if at not in self._numbers
        }
        sliced = {name: names.index(name) for name in slices if numbered}
        self._slices = [SliceMeans(name, at, values[at], numbers) for name, at in sliced.items()]

    def add(self, values: Sequence[Sequence[Any]], times: Sequence[int]) -> None:
        """Add rows, given by column, to the window."""
        phases = self._phases(times)
        if self._numbers:
            numbers = number_matrix([values[at] for at in self._numbers])
            self._add_numbers(numbers, phases)
            for each in self._slices:
                each.add(values[each.at], numbers)
        for at, column in self._categories.items():
            column.add(values[at], phases)

    def clear(self) -> None:
        """Start a new window."""
        parts: list[NumberColumn | CategoryColumn | SliceMeans]
        parts = [*self._numbers.values(), *self._categories.values(), *self._slices]
        for each in parts:
            each.clear()

    def results(self) -> Iterator[Result]:
        """Yield the result for each column and its slices."""
        rows = {at: row for row, at in enumerate(self._numbers)}
        for at, name in self._names.items():
            if at in rows:
                yield name, self._numbers[at].compare(), self._moved_slices(rows[at])
            else:
                yield name, self._categories[at].compare(), ()

    def distributions(self) -> dict[str, Distribution | None]:
        """Return the distribution of each column, None where there are too few rows."""
        columns: dict[int, NumberColumn | CategoryColumn] = {**self._numbers, **self._categories}
        return {name: columns[at].distribution() for at, name in self._names.items()}

    def _add_numbers(self, numbers: Floats, phases: Integers) -> None:
        """Count the rows of all columns at once; each row of `numbers` is a column."""
        parts, count = self._parts, len(numbers)
        bins = np.array(
            [column.bins(row) for column, row in zip(self._numbers.values(), numbers, strict=True)]
        )
        finite = np.isfinite(numbers)
        of_phase = np.arange(count)[:, None] * parts + phases
        cells = (of_phase * BINS + bins)[finite]
        counts = np.bincount(cells, minlength=count * parts * BINS).reshape(count, parts, BINS)
        flat: Any = np.bincount(of_phase[finite], weights=numbers[finite], minlength=count * parts)
        sums = flat.reshape(count, parts)
        for column, counted, total in zip(self._numbers.values(), counts, sums, strict=True):
            column.add(counted, total)

    def _moved_slices(self, row: int) -> tuple[SliceMove, ...]:
        moves = [move for each in self._slices for move in each.moves(row)]
        return tuple(sorted(moves, key=lambda move: -abs(move.after - move.before))[:3])

    def _phases(self, times: Sequence[int]) -> Integers:
        """Return the phase of the period of each time."""
        at = np.asarray(times, dtype=np.int64)
        if self._policy.period is None:
            return np.zeros(len(at), dtype=np.int64)
        return at % self._policy.period * self._policy.phases // self._policy.period
