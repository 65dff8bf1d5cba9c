"""One column of a window compared with the same column of a reference.

Numbers are compared by the Kolmogorov-Smirnov test, categories by the chi-square test. The population
stability index (PSI) measures how far a column moved.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.core.drift.levels import LEAST_IN_SLICE, SliceMove
from flows.core.drift.p_values import chi_square_tail, kolmogorov_smirnov, one_sided
from flows.core.drift.statistics import (
    Floats,
    Integers,
    chi_square,
    population_stability_index,
    rows_per_independent_rank,
    rows_per_independent_row,
)

ColumnKind = Literal["number", "category"]

BINS = 50  # of a number, with equal numbers of reference rows; also the most categories
_PSI_BINS = 10
_LEAST_EFFECTIVE = 64  # effective rows of a reference; a column with fewer is not compared
_NUMERIC = {float, int, bool, type(None)}  # None becomes NaN
OTHER = "(other)"


class ColumnComparison(NamedTuple):
    """The result of the test of one column.

    The p-value follows from the statistic and the effective `rows` of a number, or the degrees of `freedom`
    of a category. `before` and `after` are the means of a number, or the shares of the `category` that moved
    most.
    """

    psi: float
    statistic: float
    before: float
    after: float
    rows: int = 0
    freedom: int = 0
    category: str | None = None

    def p_value(self) -> float:
        """Return the p-value; 1 if the column was not compared."""
        if self.rows:
            return kolmogorov_smirnov(self.statistic, self.rows)
        return chi_square_tail(self.statistic, self.freedom) if self.freedom else 1.0

    def least_p_value(self) -> float:
        """Return a lower bound of the p-value, which takes a fraction of the time."""
        return one_sided(self.statistic, self.rows) if self.rows else self.p_value()


NOT_COMPARED = ColumnComparison(0.0, 0.0, 0.0, 0.0)


class Distribution(NamedTuple):
    """The shares of the bins of a column in its reference and in a window, of which the PSI is made.

    `bins` are the categories, or the upper bounds of the bins of a number, of which the last has none. The
    shares of the reference are those of the phases that the window has.
    """

    bins: Sequence[str | float | None]
    reference: Sequence[float]
    window: Sequence[float]


class _Shares(NamedTuple):
    """The shares of the bins in the window and in the reference, and the effective numbers of rows.

    The reference has the same mix of phases as the window; `weights` are the shares of the phases in it.
    """

    window: Floats
    reference: Floats
    rows_window: float
    rows_reference: float
    weights: Floats


class _Counts:
    """The number of rows by phase and bin, in the reference and in the window.

    `rows_per_independent` is how many rows carry the information of one independent row.
    """

    def __init__(self, reference: NDArray[np.int32], rows_per_independent: float) -> None:
        self.reference = reference
        self.window = np.zeros_like(reference)
        self._rows_per_independent = rows_per_independent

    def add(self, bins: Integers, phases: Integers) -> None:
        self.window += _cells(bins, phases, self.window.shape)

    def shares(self) -> _Shares | None:
        """Return the shares; None if no phase has rows in both, or if the reference is too small."""
        window, reference = self.window.sum(axis=1), self.reference.sum(axis=1)
        both = (window > 0) & (reference > 0)
        if not both.any() or reference.sum() / self._rows_per_independent < _LEAST_EFFECTIVE:
            return None
        rows = window[both].sum()
        weights = np.where(both, window, 0) / rows
        of_phase = self.reference[both] / reference[both, None]
        effective = 1.0 / (weights[both] ** 2 / reference[both]).sum()
        return _Shares(
            self.window[both].sum(axis=0) / rows,
            weights[both] @ of_phase,
            rows / self._rows_per_independent,
            effective / self._rows_per_independent,
            weights,
        )


class NumberColumn:
    """A column of numbers, in bins between quantiles of the reference.

    `numbers` and `phases` are those of the reference rows, of which each represents `stretch` rows. Numbers
    that are not finite do not count.
    """

    def __init__(self, numbers: Floats, phases: Integers, parts: int, stretch: float) -> None:
        finite = np.isfinite(numbers)
        self._edges = np.unique(
            np.quantile(numbers[finite], np.arange(1, BINS) / BINS, method="inverted_cdf")
            if finite.any()
            else np.zeros(0)
        )
        bins, phases = self.bins(numbers[finite]), phases[finite]
        counts = _cells(bins, phases, (parts, len(self._edges) + 1))
        self._counts = _Counts(counts, stretch * rows_per_independent_rank(bins, phases))
        self._sums = np.bincount(phases, weights=numbers[finite], minlength=parts)
        self._window_sums = np.zeros(parts)
        below = np.cumsum(counts.sum(axis=0)) - counts.sum(axis=0) / 2
        self._groups = (below / max(1, counts.sum()) * _PSI_BINS).astype(np.int64)

    def bins(self, numbers: Floats) -> Integers:
        """Return the bin of each number, at most `BINS - 1`."""
        return np.searchsorted(self._edges, numbers, side="left")

    def add(self, counts: Integers, sums: Floats) -> None:
        """Add rows to the window: their number by phase and bin, and the sums of the numbers by phase."""
        window = self._counts.window
        window += counts[:, : window.shape[1]]
        self._window_sums += sums

    def clear(self) -> None:
        """Empty the window."""
        self._counts.window[:] = 0
        self._window_sums[:] = 0.0

    def compare(self) -> ColumnComparison:
        """Compare the window with the reference by the Kolmogorov-Smirnov test."""
        shares = self._counts.shares()
        if shares is None:
            return NOT_COMPARED
        distance = float(np.abs(np.cumsum(shares.window - shares.reference)).max())
        rows = shares.rows_window * shares.rows_reference / (shares.rows_window + shares.rows_reference)
        before, after = self._means(shares.weights)
        psi = population_stability_index(self._grouped(shares.window), self._grouped(shares.reference))
        return ColumnComparison(psi, distance, before, after, rows=max(1, round(rows)))

    def distribution(self) -> Distribution | None:
        """Return the shares of the bins of the PSI; None if the window was not compared."""
        shares = self._counts.shares()
        if shares is None:
            return None
        used = np.unique(self._groups)
        last = np.searchsorted(self._groups, used, side="right")[:-1] - 1  # the last bin of each but one
        bounds = [*self._edges[last].tolist(), None]
        reference, window = self._grouped(shares.reference)[used], self._grouped(shares.window)[used]
        return Distribution(bounds, reference.tolist(), window.tolist())

    def _grouped(self, shares: Floats) -> Floats:
        """Return the shares by bin of the PSI."""
        return np.bincount(self._groups, weights=shares, minlength=_PSI_BINS).astype(np.float64)

    def _means(self, weights: Floats) -> tuple[float, float]:
        reference = self._sums / np.maximum(1, self._counts.reference.sum(axis=1))
        window = self._window_sums / np.maximum(1, self._counts.window.sum(axis=1))
        return float(weights @ reference), float(weights @ window)


class _Categories:
    """The most frequent categories of a reference; all others are one category."""

    def __init__(self, values: Sequence[Any]) -> None:
        frequent = Counter(str(value) for value in values if value is not None).most_common(BINS)
        self.names = [name for name, _ in frequent] + [OTHER]
        self._codes = {name: code for code, (name, _) in enumerate(frequent)}

    def codes(self, values: Sequence[Any]) -> Integers:
        """Return the bin of each value, -1 for a null."""
        other = len(self._codes)
        codes = [-1 if value is None else self._codes.get(str(value), other) for value in values]
        return np.asarray(codes, dtype=np.int64)


class CategoryColumn:
    """A column of categories; the other arguments are those of `NumberColumn`."""

    def __init__(self, values: Sequence[Any], phases: Integers, parts: int, stretch: float) -> None:
        self._categories = _Categories(values)
        frequent = len(self._categories.names) - 1
        codes = self._categories.codes(values)
        known = codes >= 0
        bins, phases = codes[known], phases[known]
        counts = _cells(bins, phases, (parts, frequent + 1))
        rows_per_independent = max(
            (rows_per_independent_row(bins == code, phases) for code in range(min(10, frequent))), default=1.0
        )
        self._counts = _Counts(counts, stretch * rows_per_independent)

    def add(self, values: Sequence[Any], phases: Integers) -> None:
        """Add rows to the window."""
        codes = self._categories.codes(values)
        self._counts.add(codes[codes >= 0], phases[codes >= 0])

    def clear(self) -> None:
        """Empty the window."""
        self._counts.window[:] = 0

    def compare(self) -> ColumnComparison:
        """Compare the window with the reference by the chi-square test."""
        shares = self._counts.shares()
        if shares is None:
            return NOT_COMPARED
        window, reference = shares.window, shares.reference
        statistic, freedom = chi_square(window, reference, shares.rows_window, shares.rows_reference)
        most = int(np.abs(window - reference).argmax())
        before, after = float(reference[most]), float(window[most])
        psi = population_stability_index(window, reference)
        name = self._categories.names[most]
        return ColumnComparison(psi, statistic, before, after, freedom=freedom, category=name)

    def distribution(self) -> Distribution | None:
        """Return the shares of the categories; None if the window was not compared."""
        shares = self._counts.shares()
        if shares is None:
            return None
        used = np.flatnonzero((shares.reference > 0) | (shares.window > 0))
        names = [self._categories.names[code] for code in used]
        return Distribution(names, shares.reference[used].tolist(), shares.window[used].tolist())


class SliceMeans:
    """The means of numbers by category of a slice column, in the reference and in the window.

    `at` is the index of the slice column in a row. `values` are its values in the reference rows, and
    `numbers` those of the number columns, as the rows of a matrix.
    """

    def __init__(self, name: str, at: int, values: Sequence[Any], numbers: Floats) -> None:
        self.at = at
        self._name = name
        self._categories = _Categories(values)
        shape = (len(numbers), 2, len(self._categories.names))  # 2: the rows and the sum
        self._reference, self._window = np.zeros(shape), np.zeros(shape)
        self._add_to(self._reference, values, numbers)

    def add(self, values: Sequence[Any], numbers: Floats) -> None:
        """Add rows to the window."""
        self._add_to(self._window, values, numbers)

    def clear(self) -> None:
        """Empty the window."""
        self._window[:] = 0.0

    def moves(self, column: int) -> list[SliceMove]:
        """Return the change of a number, given by its row in the matrix, for each category."""
        (before_rows, before), (rows, after) = self._reference[column], self._window[column]
        enough = np.flatnonzero((before_rows >= LEAST_IN_SLICE) & (rows >= LEAST_IN_SLICE))
        return [
            SliceMove(
                self._name,
                self._categories.names[code],
                float(before[code] / before_rows[code]),
                float(after[code] / rows[code]),
                int(rows[code]),
            )
            for code in enough
        ]

    def _add_to(self, totals: Floats, values: Sequence[Any], numbers: Floats) -> None:
        codes, (columns, _, names) = self._categories.codes(values), totals.shape
        known = np.isfinite(numbers) & (codes >= 0)
        cells = (np.arange(columns)[:, None] * names + codes)[known]
        size, shape = columns * names, (columns, names)
        totals[:, 0] += np.bincount(cells, minlength=size).reshape(shape)
        totals[:, 1] += np.bincount(cells, weights=numbers[known], minlength=size).reshape(shape)


def _cells(bins: Integers, phases: Integers, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Return the number of rows by phase and bin."""
    parts, width = shape
    counts = np.bincount(phases * width + bins, minlength=parts * width)
    return counts.astype(np.int32).reshape(shape)


def number_matrix(columns: Sequence[Sequence[Any]]) -> Floats:
    """Return `floats` of each column, as the rows of a matrix."""
    if set(map(type, chain.from_iterable(columns))) <= _NUMERIC:
        return np.array(columns, dtype=float)
    return np.array([floats(values) for values in columns])


def floats(values: Sequence[Any]) -> Floats:
    """Return the values as floats, with NaN for anything that is not a number."""
    if set(map(type, values)) <= _NUMERIC:  # nearly always true, and several times faster
        return np.array(values, dtype=float)
    return np.array([value if type(value) in _NUMERIC else None for value in values], dtype=float)
