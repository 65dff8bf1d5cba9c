"""A robust slope of a series of measurements, with its confidence interval."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import theilslopes

BLOCKS = 24  # the slope is fitted to their medians


class Slope(NamedTuple):
    """Growth per unit of time, with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def verdict(self, little: float) -> Literal["flat", "slow", "grows"]:
        """Return "grows" if the interval lies above `little`, "slow" if above zero, "flat" otherwise."""
        if self.low > little:
            return "grows"
        return "slow" if self.low > 0 else "flat"


def slope(times: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the Theil-Sen slope: the median of the slopes between all pairs of points.

    The points are medians of consecutive blocks, since the confidence interval assumes independent points
    and neighbouring measurements of memory are not. Raises `ValueError` for fewer than two per block.

    >>> slope(range(48), [5.0 + 2.0 * time for time in range(48)])
    Slope(value=2.0, low=2.0, high=2.0)
    """
    if len(times) < 2 * BLOCKS:
        raise ValueError(f"{len(times)} measurements are too few for a slope; take at least {2 * BLOCKS}")
    x = [np.median(block) for block in np.array_split(np.asarray(times, dtype=float), BLOCKS)]
    y = [np.median(block) for block in np.array_split(np.asarray(values, dtype=float), BLOCKS)]
    fit = theilslopes(y, x, alpha=0.95)
    return Slope(float(fit.slope), float(fit.low_slope), float(fit.high_slope))
