"""Whether a series of measurements grows: a robust slope with its confidence interval."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import theilslopes

BLOCKS = 24  # medians of so many blocks are fitted


class Slope(NamedTuple):
    """Growth per unit of time, and the limits between which it is with a probability of 95 %."""

    value: float
    low: float
    high: float

    def verdict(self, little: float) -> Literal["flat", "slow", "grows"]:
        """Whether it may be zero, is clearly above zero, or clearly more than `little`."""
        if self.low > little:
            return "grows"
        return "slow" if self.low > 0 else "flat"


def slope(times: Sequence[float], values: Sequence[float]) -> Slope:
    """The slope of Theil (1950) and Sen (1968): the median of those between all pairs of points.

    The points are the medians of consecutive blocks, for neighbouring measurements of memory are alike, and
    the interval is that of independent ones. Raises `ValueError` for fewer than two measurements a block.

    >>> slope(range(48), [5.0 + 2.0 * time for time in range(48)])
    Slope(value=2.0, low=2.0, high=2.0)
    """
    if len(times) < 2 * BLOCKS:
        raise ValueError(f"{len(times)} measurements are too few for a slope; {2 * BLOCKS} are needed")
    x = [np.median(block) for block in np.array_split(np.asarray(times, dtype=float), BLOCKS)]
    y = [np.median(block) for block in np.array_split(np.asarray(values, dtype=float), BLOCKS)]
    fit = theilslopes(y, x, alpha=0.95)
    return Slope(float(fit.slope), float(fit.low_slope), float(fit.high_slope))
