"""Quantiles of a Prometheus histogram."""

from collections.abc import Sequence
from math import inf, nan


def quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float:
    """Return the quantile of cumulative `counts` by upper bound, as Prometheus' `histogram_quantile`.

    Values are taken to be spread evenly in a bucket. NaN without values; the highest finite bound for values
    above it.

    >>> quantile([0.1, 0.2, float("inf")], [50, 100, 100], 0.75)
    0.15
    """
    total = counts[-1] if counts else 0
    if not total:
        return nan
    wanted, below, low = share * total, 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= wanted and count > below:
            return (
                low if bound == inf else round(low + (bound - low) * (wanted - below) / (count - below), 12)
            )
        below, low = count, bound
    return low
