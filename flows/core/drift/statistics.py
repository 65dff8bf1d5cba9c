"""Statistics of binned columns: PSI, the chi-square test, and the effective number of rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_LEAST_SHARE = 1e-4  # since PSI takes the logarithm of shares
_LEAST_EXPECTED = 5.0  # effective rows in a category, as chi-square needs
_BLOCKS = 16  # the fewest blocks that a variance is estimated from


def population_stability_index(window: Floats, reference: Floats) -> float:
    """Return the PSI of two distributions over the same bins: the sum of both relative entropies."""
    nonempty = (window > 0) | (reference > 0)
    after = np.maximum(window[nonempty], _LEAST_SHARE)
    before = np.maximum(reference[nonempty], _LEAST_SHARE)
    return float(((after - before) * np.log(after / before)).sum())


def chi_square(
    window: Floats, reference: Floats, rows_window: float, rows_reference: float
) -> tuple[float, int]:
    """Return Pearson's statistic of homogeneity and its degrees of freedom.

    The shares are of the given effective numbers of rows. Categories with too few rows are merged.
    """
    total = rows_window + rows_reference
    pooled = (rows_window * window + rows_reference * reference) / total
    few = pooled * min(rows_window, rows_reference) < _LEAST_EXPECTED
    window, reference, pooled = (
        np.append(each[~few], each[few].sum()) for each in (window, reference, pooled)
    )
    nonempty = pooled > 0
    rows = rows_window * rows_reference / total
    statistic = float((rows * (window - reference)[nonempty] ** 2 / pooled[nonempty]).sum())
    return statistic, int(nonempty.sum()) - 1


def rows_per_independent_rank(ranks: Integers, phases: Integers) -> float:
    """Return `rows_per_independent_row` for numbers given by rank: the larger of level and spread."""
    if len(ranks) == 0:
        return 1.0
    spread = np.abs(ranks - np.median(ranks))
    return max(rows_per_independent_row(ranks, phases), rows_per_independent_row(spread, phases))


def rows_per_independent_row(values: NDArray[Any], phases: Integers) -> float:
    """Return how many consecutive rows carry the information of one independent row, at least 1.

    For block lengths m = 1, 2, 4, ... it is the variance of block means, times m, over the variance of single
    values; the largest ratio counts.
    """
    sums, counts = np.bincount(phases, weights=values), np.bincount(phases)
    residuals = values - (sums / np.maximum(1, counts))[phases]
    variance = float(residuals.var()) if len(residuals) else 0.0
    largest, length = 1.0, 1
    while variance > 0 and len(residuals) // length >= _BLOCKS:
        blocks = residuals[: len(residuals) // length * length].reshape(-1, length).mean(axis=1)
        largest = max(largest, length * float(blocks.var(ddof=1)) / variance)
        length *= 2
    return largest
