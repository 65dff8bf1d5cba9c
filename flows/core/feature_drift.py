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

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.core.drift import LEAST_IN_SLICE, Gate, Level, Over, Position, SliceMove

Kind = Literal["number", "category"]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

KEPT = 4096  # rows that are kept of a reference until it is full
BINS = 50  # of a number, equally full in the reference; and the most categories
_PSI_BINS = 10
_LEAST_SHARE = 1e-4  # PSI has a logarithm in it
_LEAST_EXPECTED = 5.0  # effective rows in a category, as chi-square needs
_LEAST_EFFECTIVE = 64  # rows of a reference; a column that moves so slowly that it has fewer is not judged
_BLOCKS = 16  # the fewest blocks that a variance is estimated from
_GOLDEN = 0.6180339887498949
_NAMED = 5
_NUMERIC = {float, int, bool, type(None)}  # None becomes NaN
OTHER = "(other)"


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


class Moved(NamedTuple):
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


class Alarm(NamedTuple):
    """The columns that drifted, the furthest first, in a window of `width` rows since `since` (ms)."""

    level: Level
    moved: tuple[Moved, ...]
    width: int
    since: int
    position: Position


class Compared(NamedTuple):
    """A full window that began at `since` (ms), and the PSI of each column in it; None for too few rows."""

    since: int
    psi: Mapping[str, float | None]


class FeatureDrift:
    """Watches the columns of a stream of rows; `columns` are in the order of a row's values.

    `furthest` are the five columns that were furthest from the reference in the last full window, drifted
    or not, for an alarm of another kind to name; `compared` has the PSI of all. `slices` names columns of
    categories by which the means of the numbers are told apart. State: at most 4,096 rows while the
    reference fills; then 8 bytes for each column, phase and bin, and 32 for each number and value of a
    slice's column (at most 51).
    """

    def __init__(
        self, columns: Mapping[str, Kind], policy: FeaturePolicy, slices: Sequence[str] = ()
    ) -> None:
        self._columns = dict(columns)
        self._policy = policy
        self._slices = tuple(slices)
        self._gate = Gate(0, policy.cool_down)
        self._filling = _Filling(policy)
        self._comparison: _Comparison | None = None
        self._raised = False  # since the last window without a difference
        self.furthest: tuple[Moved, ...] = ()
        self.compared: Compared | None = None

    def update(
        self, rows: Sequence[Sequence[Any]], times: Sequence[int], positions: Sequence[Position]
    ) -> list[Alarm | Over]:
        """Take in a batch of rows with their event times (ms); where batches are cut changes no alarm.

        An alarm, or a warning, is over with the first full window that does not differ from the reference.
        """
        alarms: list[Alarm | Over] = []
        start = 0
        while start < len(rows):
            if self._comparison is None:
                start += self._fill(rows[start:], times[start:])
                continue
            end = min(len(rows), start + self._policy.window - self._comparison.width)
            self._comparison.add(rows[start:end], times[start:end])
            if self._comparison.width == self._policy.window:
                alarms += self._judge(self._comparison, times[end - 1], positions[end - 1])
            start = end
        return alarms

    def _fill(self, rows: Sequence[Sequence[Any]], times: Sequence[int]) -> int:
        """Add to the reference what it still needs; how many rows those were."""
        taken = self._filling.add(rows, times)
        if self._filling.is_full:
            self._comparison = _Comparison(self._columns, self._policy, self._slices, self._filling)
            self._filling = _Filling(self._policy)
        return taken

    def _judge(self, comparison: "_Comparison", time: int, position: Position) -> list[Alarm | Over]:
        furthest, policy = comparison.furthest(), self._policy
        self.furthest = tuple(furthest[:_NAMED])
        moved = tuple(m for m in furthest if m.p_value <= policy.significance and m.psi >= policy.warning)
        since, width = comparison.since, comparison.width
        psi = dict.fromkeys(self._columns) | {each.column: each.psi for each in furthest}
        self.compared = Compared(since, psi)
        comparison.clear()
        if not moved:
            raised, self._raised = self._raised, False
            return [Over(position)] if raised else []
        level: Level = "alarm" if moved[0].psi >= self._policy.alarm else "warning"
        if not self._gate.is_open(level, 0, time):
            return []
        self._gate.close(level, time)
        self._raised = True
        if level == "alarm":
            self._comparison = None
        return [Alarm(level, moved, width, since, position)]


class _Filling:
    """A reference that still fills: of its rows the first of each equally long stretch, at most `KEPT`."""

    def __init__(self, policy: FeaturePolicy) -> None:
        self._policy = policy
        self._count = 0
        self._first = self._newest = 0  # ms
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

    def add(self, rows: Sequence[Sequence[Any]], times: Sequence[int]) -> int:
        """Take rows in until the reference is full; how many."""
        for taken, (row, time) in enumerate(zip(rows, times, strict=True), start=1):
            self._add(row, time)
            if self.is_full:
                return taken
        return len(rows)

    def _add(self, row: Sequence[Any], time: int) -> None:
        if self._count == 0:
            self._first = self._newest = time
        lot = self._count * _GOLDEN % 1.0  # evenly spread, and in step with nothing
        self._count += 1
        self._newest = max(self._newest, time)
        if lot < self._share:
            self._kept.append((lot, time, row))
        if len(self._kept) > KEPT:
            self._share /= 2
            self._kept = [kept for kept in self._kept if kept[0] < self._share]
        span = 2 * (self._policy.period or 0)
        self.is_full = self._count >= self._policy.reference and self._newest - self._first >= span


class _Comparison:
    """A full reference, and the window that is compared with it."""

    def __init__(
        self, columns: Mapping[str, Kind], policy: FeaturePolicy, slices: Sequence[str], filled: _Filling
    ) -> None:
        self._policy = policy
        self._names = list(columns)
        phases = self._phases(filled.times)
        values = list(zip(*filled.rows, strict=True))
        parts = policy.phases if policy.period else 1
        self._columns: list[_Number | _Category] = [
            (_Number if kind == "number" else _Category)(column, phases, parts, filled.stretch)
            for kind, column in zip(columns.values(), values, strict=True)
        ]
        self._slices = [
            _Slices(name, columns, self._columns, values) for name in slices if columns[name] == "category"
        ]
        self.width = 0
        self.since = 0

    def add(self, rows: Sequence[Sequence[Any]], times: Sequence[int]) -> None:
        """Add rows to the window."""
        if self.width == 0:
            self.since = times[0]
        self.width += len(rows)
        phases, values = self._phases(times), list(zip(*rows, strict=True))
        for column, its in zip(self._columns, values, strict=True):
            column.add(its, phases)
        for each in self._slices:
            each.add(values)

    def clear(self) -> None:
        """Begin a new window."""
        self.width = 0
        for each in (*self._columns, *self._slices):
            each.clear()

    def furthest(self) -> list[Moved]:
        """The columns that can be judged, the one that is furthest from the reference first."""
        from scipy.stats import false_discovery_control  # not at the start, which it would slow down

        results = [column.compare() for column in self._columns]
        adjusted = false_discovery_control([result.p_value for result in results])
        columns = [
            Moved(name, r.psi, r.statistic, float(p), r.before, r.after, r.category, self._moved_slices(name))
            for name, r, p in zip(self._names, results, adjusted, strict=True)
            if r is not _NOTHING
        ]
        return sorted(columns, key=lambda moved: -moved.psi)

    def _moved_slices(self, name: str) -> tuple[SliceMove, ...]:
        moves = [move for each in self._slices for move in each.moves(self._names.index(name))]
        return tuple(sorted(moves, key=lambda move: -abs(move.after - move.before))[:3])

    def _phases(self, times: Sequence[int]) -> Integers:
        """The part of the period that each time is in."""
        at = np.asarray(times, dtype=np.int64)
        if self._policy.period is None:
            return np.zeros(len(at), dtype=np.int64)
        return at % self._policy.period * self._policy.phases // self._policy.period


class _Result(NamedTuple):
    """What the comparison of one column says."""

    p_value: float
    psi: float
    statistic: float
    before: float
    after: float
    category: str | None = None


_NOTHING = _Result(1.0, 0.0, 0.0, 0.0, 0.0)


class _Shares(NamedTuple):
    """The shares of the bins in the window and in the reference of the same phases, and the effective rows.

    `weights` are the shares of the phases in the window.
    """

    window: Floats
    reference: Floats
    rows_window: float
    rows_reference: float
    weights: Floats


class _Counts:
    """How many rows of each phase fell into each bin, in the reference and in the window.

    `alike` is how many rows tell as much as one.
    """

    def __init__(self, reference: NDArray[np.int32], alike: float) -> None:
        self.reference = reference
        self.window = np.zeros_like(reference)
        self._alike = alike

    def add(self, bins: Integers, phases: Integers) -> None:
        np.add.at(self.window, (phases, bins), 1)

    def shares(self) -> _Shares | None:
        """None where no phase has rows in both, or the column moves too slowly for such a reference."""
        window, reference = self.window.sum(axis=1), self.reference.sum(axis=1)
        both = (window > 0) & (reference > 0)
        if not both.any() or reference.sum() / self._alike < _LEAST_EFFECTIVE:
            return None
        rows = window[both].sum()
        weights = np.where(both, window, 0) / rows
        of_phase = self.reference[both] / reference[both, None]
        effective = 1.0 / (weights[both] ** 2 / reference[both]).sum()
        return _Shares(
            self.window[both].sum(axis=0) / rows,
            weights[both] @ of_phase,
            rows / self._alike,
            effective / self._alike,
            weights,
        )


class _Number:
    """A column of numbers, in bins between quantiles of the reference."""

    def __init__(self, values: Sequence[Any], phases: Integers, parts: int, stretch: float) -> None:
        given = floats(values)
        known = np.isfinite(given)
        self._edges = np.unique(
            np.quantile(given[known], np.arange(1, BINS) / BINS, method="inverted_cdf")
            if known.any()
            else np.zeros(0)
        )
        bins, phases = self._bins(given[known]), phases[known]
        counts = np.zeros((parts, len(self._edges) + 1), dtype=np.int32)
        np.add.at(counts, (phases, bins), 1)
        self._counts = _Counts(counts, stretch * _rank_alike(bins, phases))
        self._sums = np.bincount(phases, weights=given[known], minlength=parts)
        self._window_sums = np.zeros(parts)
        below = np.cumsum(counts.sum(axis=0)) - counts.sum(axis=0) / 2
        self._groups = (below / max(1, counts.sum()) * _PSI_BINS).astype(np.int64)

    def add(self, values: Sequence[Any], phases: Integers) -> None:
        given = floats(values)
        known = np.isfinite(given)
        self._counts.add(self._bins(given[known]), phases[known])
        self._window_sums += np.bincount(phases[known], weights=given[known], minlength=len(self._sums))

    def clear(self) -> None:
        self._counts.window[:] = 0
        self._window_sums[:] = 0.0

    def compare(self) -> _Result:
        from scipy.stats import kstwo

        shares = self._counts.shares()
        if shares is None:
            return _NOTHING
        distance = float(np.abs(np.cumsum(shares.window - shares.reference)).max())
        rows = shares.rows_window * shares.rows_reference / (shares.rows_window + shares.rows_reference)
        p_value = float(kstwo.sf(distance, max(1, round(rows))))
        window, reference = (
            np.bincount(self._groups, weights=each, minlength=_PSI_BINS).astype(np.float64)
            for each in (shares.window, shares.reference)
        )
        before, after = self._means(shares.weights)
        return _Result(p_value, _psi(window, reference), distance, before, after)

    def _bins(self, values: Floats) -> Integers:
        return np.searchsorted(self._edges, values, side="left")

    def _means(self, weights: Floats) -> tuple[float, float]:
        reference = self._sums / np.maximum(1, self._counts.reference.sum(axis=1))
        window = self._window_sums / np.maximum(1, self._counts.window.sum(axis=1))
        return float(weights @ reference), float(weights @ window)


class _Category:
    """A column of categories: the most frequent ones of the reference, and all others as one."""

    def __init__(self, values: Sequence[Any], phases: Integers, parts: int, stretch: float) -> None:
        frequent = Counter(str(value) for value in values if value is not None).most_common(BINS)
        self.names = [name for name, _ in frequent] + [OTHER]
        self._codes = {name: code for code, (name, _) in enumerate(frequent)}
        codes = self.codes(values)
        known = codes >= 0
        bins, phases = codes[known], phases[known]
        counts = np.zeros((parts, len(self.names)), dtype=np.int32)
        np.add.at(counts, (phases, bins), 1)
        alike = max((_alike(bins == code, phases) for code in range(min(10, len(frequent)))), default=1.0)
        self._counts = _Counts(counts, stretch * alike)

    def codes(self, values: Sequence[Any]) -> Integers:
        """The bin of each value, -1 for a null."""
        other = len(self._codes)
        codes = [-1 if value is None else self._codes.get(str(value), other) for value in values]
        return np.asarray(codes, dtype=np.int64)

    def add(self, values: Sequence[Any], phases: Integers) -> None:
        codes = self.codes(values)
        self._counts.add(codes[codes >= 0], phases[codes >= 0])

    def clear(self) -> None:
        self._counts.window[:] = 0

    def compare(self) -> _Result:
        shares = self._counts.shares()
        if shares is None:
            return _NOTHING
        statistic, p_value = _chi_square(shares)
        most = int(np.abs(shares.window - shares.reference).argmax())
        before, after = float(shares.reference[most]), float(shares.window[most])
        psi = _psi(shares.window, shares.reference)
        return _Result(p_value, psi, statistic, before, after, self.names[most])


class _Slices:
    """The sums of the numbers for each value of a column of categories, in reference and window."""

    def __init__(
        self,
        name: str,
        columns: Mapping[str, Kind],
        compared: Sequence[_Number | _Category],
        values: Sequence[Sequence[Any]],
    ) -> None:
        self._name = name
        self._at = list(columns).index(name)
        column = compared[self._at]
        assert isinstance(column, _Category)
        self._column = column
        self._numbers = [index for index, kind in enumerate(columns.values()) if kind == "number"]
        shape = (len(self._numbers), 2, len(self._column.names))
        self._reference, self._window = np.zeros(shape), np.zeros(shape)
        self._sum(self._reference, values)

    def add(self, values: Sequence[Sequence[Any]]) -> None:
        self._sum(self._window, values)

    def clear(self) -> None:
        self._window[:] = 0.0

    def moves(self, column: int) -> list[SliceMove]:
        """What the values of this slice say of the number in `column`; nothing of a category."""
        if column not in self._numbers:
            return []
        at = self._numbers.index(column)
        (before_rows, before), (rows, after) = self._reference[at], self._window[at]
        enough = np.flatnonzero((before_rows >= LEAST_IN_SLICE) & (rows >= LEAST_IN_SLICE))
        return [
            SliceMove(
                self._name,
                self._column.names[code],
                float(before[code] / before_rows[code]),
                float(after[code] / rows[code]),
                int(rows[code]),
            )
            for code in enough
        ]

    def _sum(self, into: Floats, values: Sequence[Sequence[Any]]) -> None:
        codes = self._column.codes(values[self._at])
        for at, column in enumerate(self._numbers):
            given = floats(values[column])
            known = np.isfinite(given) & (codes >= 0)
            into[at, 0] += np.bincount(codes[known], minlength=into.shape[2])
            into[at, 1] += np.bincount(codes[known], weights=given[known], minlength=into.shape[2])


def floats(values: Sequence[Any]) -> Floats:
    """The values as floats, what is no number as NaN."""
    if set(map(type, values)) <= _NUMERIC:  # as nearly always: several times as fast
        return np.array(values, dtype=float)
    return np.array([value if type(value) in _NUMERIC else None for value in values], dtype=float)


def _psi(window: Floats, reference: Floats) -> float:
    """The population stability index: both relative entropies added up."""
    there = (window > 0) | (reference > 0)
    after = np.maximum(window[there], _LEAST_SHARE)
    before = np.maximum(reference[there], _LEAST_SHARE)
    return float(((after - before) * np.log(after / before)).sum())


def _chi_square(shares: _Shares) -> tuple[float, float]:
    """Pearson's statistic of homogeneity and its p-value; categories with too few rows count as one."""
    from scipy.stats import chi2

    total = shares.rows_window + shares.rows_reference
    pooled = (shares.rows_window * shares.window + shares.rows_reference * shares.reference) / total
    few = pooled * min(shares.rows_window, shares.rows_reference) < _LEAST_EXPECTED
    window, reference, pooled = (
        np.append(each[~few], each[few].sum()) for each in (shares.window, shares.reference, pooled)
    )
    there = pooled > 0
    rows = shares.rows_window * shares.rows_reference / total
    statistic = float((rows * (window - reference)[there] ** 2 / pooled[there]).sum())
    freedom = int(there.sum()) - 1
    return statistic, float(chi2.sf(statistic, freedom)) if freedom else 1.0


def _rank_alike(ranks: Integers, phases: Integers) -> float:
    """`_alike` of numbers by their ranks, of their level or of their distance from the middle."""
    if len(ranks) == 0:
        return 1.0
    return max(_alike(ranks, phases), _alike(np.abs(ranks - np.median(ranks)), phases))


def _alike(values: NDArray[Any], phases: Integers) -> float:
    """How many neighbouring values tell as much as one of independent ones, 1 or more.

    The variance of means of m values, times m, over the variance of a value, for m = 1, 2, 4, ...: the
    largest.
    """
    sums, counts = np.bincount(phases, weights=values), np.bincount(phases)
    rest = values - (sums / np.maximum(1, counts))[phases]
    variance, alike, length = float(rest.var()) if len(rest) else 0.0, 1.0, 1
    while variance > 0 and len(rest) // length >= _BLOCKS:
        blocks = rest[: len(rest) // length * length].reshape(-1, length).mean(axis=1)
        alike = max(alike, length * float(blocks.var(ddof=1)) / variance)
        length *= 2
    return alike
