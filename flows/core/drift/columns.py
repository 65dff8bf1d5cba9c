"""One column of a window against the same column of a reference: counts in bins, and statistics on them.

Numbers are compared by Kolmogorov-Smirnov's test, categories by chi-square; how far a column moved is its
population stability index (PSI). `flows.core.drift.features` says which rows are compared, and what follows.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.core.drift.levels import LEAST_IN_SLICE, SliceMove

ColumnKind = Literal["number", "category"]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS = 50  # of a number, equally full in the reference; and the most categories
_PSI_BINS = 10
_LEAST_SHARE = 1e-4  # PSI has a logarithm in it
_LEAST_EXPECTED = 5.0  # effective rows in a category, as chi-square needs
_LEAST_EFFECTIVE = 64  # rows of a reference; a column that moves so slowly that it has fewer is not judged
_BLOCKS = 16  # the fewest blocks that a variance is estimated from
_NUMERIC = {float, int, bool, type(None)}  # None becomes NaN
OTHER = "(other)"


class ColumnComparison(NamedTuple):
    """What the comparison of one column says."""

    p_value: float
    psi: float
    statistic: float
    before: float
    after: float
    category: str | None = None


NOT_COMPARED = ColumnComparison(1.0, 0.0, 0.0, 0.0, 0.0)


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


class NumberColumn:
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

    def compare(self) -> ColumnComparison:
        from scipy.stats import kstwo

        shares = self._counts.shares()
        if shares is None:
            return NOT_COMPARED
        distance = float(np.abs(np.cumsum(shares.window - shares.reference)).max())
        rows = shares.rows_window * shares.rows_reference / (shares.rows_window + shares.rows_reference)
        p_value = float(kstwo.sf(distance, max(1, round(rows))))
        window, reference = (
            np.bincount(self._groups, weights=each, minlength=_PSI_BINS).astype(np.float64)
            for each in (shares.window, shares.reference)
        )
        before, after = self._means(shares.weights)
        return ColumnComparison(p_value, _psi(window, reference), distance, before, after)

    def _bins(self, values: Floats) -> Integers:
        return np.searchsorted(self._edges, values, side="left")

    def _means(self, weights: Floats) -> tuple[float, float]:
        reference = self._sums / np.maximum(1, self._counts.reference.sum(axis=1))
        window = self._window_sums / np.maximum(1, self._counts.window.sum(axis=1))
        return float(weights @ reference), float(weights @ window)


class _Categories:
    """The most frequent categories of a reference, and all others as one."""

    def __init__(self, values: Sequence[Any]) -> None:
        frequent = Counter(str(value) for value in values if value is not None).most_common(BINS)
        self.names = [name for name, _ in frequent] + [OTHER]
        self._codes = {name: code for code, (name, _) in enumerate(frequent)}

    def codes(self, values: Sequence[Any]) -> Integers:
        """The bin of each value, -1 for a null."""
        other = len(self._codes)
        codes = [-1 if value is None else self._codes.get(str(value), other) for value in values]
        return np.asarray(codes, dtype=np.int64)


class CategoryColumn:
    """A column of categories: the most frequent ones of the reference, and all others as one."""

    def __init__(self, values: Sequence[Any], phases: Integers, parts: int, stretch: float) -> None:
        self._categories = _Categories(values)
        frequent = len(self._categories.names) - 1
        codes = self._categories.codes(values)
        known = codes >= 0
        bins, phases = codes[known], phases[known]
        counts = np.zeros((parts, frequent + 1), dtype=np.int32)
        np.add.at(counts, (phases, bins), 1)
        alike = max((alike_rows(bins == code, phases) for code in range(min(10, frequent))), default=1.0)
        self._counts = _Counts(counts, stretch * alike)

    def add(self, values: Sequence[Any], phases: Integers) -> None:
        codes = self._categories.codes(values)
        self._counts.add(codes[codes >= 0], phases[codes >= 0])

    def clear(self) -> None:
        self._counts.window[:] = 0

    def compare(self) -> ColumnComparison:
        shares = self._counts.shares()
        if shares is None:
            return NOT_COMPARED
        statistic, p_value = _chi_square(shares)
        most = int(np.abs(shares.window - shares.reference).argmax())
        before, after = float(shares.reference[most]), float(shares.window[most])
        psi = _psi(shares.window, shares.reference)
        return ColumnComparison(p_value, psi, statistic, before, after, self._categories.names[most])


class SliceMeans:
    """The sums of numbers for each value of a column of categories, in reference and window.

    The column of the categories and those of the `numbers` are given by their place in a row.
    """

    def __init__(self, name: str, at: int, numbers: Sequence[int], values: Sequence[Sequence[Any]]) -> None:
        self._name = name
        self._at = at
        self._numbers = list(numbers)
        self._categories = _Categories(values[at])
        shape = (len(self._numbers), 2, len(self._categories.names))
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
                self._categories.names[code],
                float(before[code] / before_rows[code]),
                float(after[code] / rows[code]),
                int(rows[code]),
            )
            for code in enough
        ]

    def _sum(self, into: Floats, values: Sequence[Sequence[Any]]) -> None:
        codes = self._categories.codes(values[self._at])
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
    """`alike_rows` of numbers by their ranks, of their level or of their distance from the middle."""
    if len(ranks) == 0:
        return 1.0
    return max(alike_rows(ranks, phases), alike_rows(np.abs(ranks - np.median(ranks)), phases))


def alike_rows(values: NDArray[Any], phases: Integers) -> float:
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
