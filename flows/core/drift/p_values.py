"""The p-values of the Kolmogorov-Smirnov and the chi-square test, and their adjustment.

They are SciPy's to 10 digits. (SciPy approximates those above 0.02 of more than 140 rows, to 5 decimals.) But
the import of `scipy.stats` takes half a second of CPU time and 50 MB, and one value up to 3 ms.
"""

from collections.abc import Sequence
from math import erfc, exp, floor, lgamma, log, sqrt

import numpy as np

from flows.core.drift.statistics import Floats

_SMALL = 140  # rows
_FAR, _FAR_IF_MANY = 4.0, 2.2  # rows * distance²


def kolmogorov_smirnov(distance: float, rows: int) -> float:
    """Return the probability of at least this distance between a distribution and a sample of it.

    A large distance is hardly ever exceeded in both directions, so twice the probability of one direction is
    correct to 6 digits (Simard and L'Ecuyer, 2011, whose limits these are).
    """
    far = _FAR if rows <= _SMALL else _FAR_IF_MANY
    if rows * distance**2 >= far or distance >= 0.5:
        return min(1.0, 2 * one_sided(distance, rows))
    return 1 - _within(distance, rows) if rows * distance > 0.5 else 1.0


def one_sided(distance: float, rows: int) -> float:
    """Return the probability of at least this distance in one given direction (Smirnov, 1944)."""
    if not 0 < distance < 1:
        return float(distance <= 0)
    logs = np.concatenate(([0.0], np.log(np.arange(1, rows + 1)).cumsum()))  # of the factorials
    at = np.arange(floor(rows * (1 - distance)) + 1)
    below = at / rows + distance
    above = np.maximum(1 - below, 1e-300)
    chances = logs[rows] - logs[at] - logs[rows - at] + (rows - at) * np.log(above) + (at - 1) * np.log(below)
    return min(1.0, float(np.exp(chances + log(distance)).sum()))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Return the probability of at least this statistic; `freedom` is a positive whole number."""
    half = statistic / 2
    if half <= 0:
        return 1.0
    first = freedom % 2 / 2
    terms = (exp((first + n) * log(half) - half - lgamma(first + n + 1)) for n in range(freedom // 2))
    return (erfc(sqrt(half)) if freedom % 2 else 0.0) + sum(terms)


def adjusted(p_values: Sequence[float]) -> Floats:
    """Return the p-values adjusted by the procedure of Benjamini and Hochberg (1995)."""
    values = np.asarray(p_values, dtype=float)
    order = values.argsort()[::-1]  # the largest first
    scaled = values[order] * (len(values) / np.arange(len(values), 0, -1))
    smallest = np.empty_like(values)
    smallest[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    return smallest


def _within(distance: float, rows: int) -> float:
    """Return the probability of a smaller distance, by a power of a matrix (Marsaglia et al., 2003).

    The division by e keeps the power in the range of floats.
    """
    middle = floor(rows * distance)
    size, rest = 2 * middle + 1, middle + 1 - rows * distance
    powers = rest ** np.arange(1, size + 1)
    steps = np.subtract.outer(np.arange(size), np.arange(size)) + 1
    matrix = (steps >= 0).astype(float)
    matrix[:, 0] -= powers
    matrix[-1] -= powers[::-1]
    matrix[-1, 0] += max(0.0, 2 * rest - 1) ** size
    factorials = np.exp([lgamma(n + 1) for n in range(size + 1)])
    matrix /= factorials[np.maximum(steps, 0)] * np.e
    power = np.linalg.matrix_power(matrix, rows)[middle, middle]
    return float(power) * exp(lgamma(rows + 1) - rows * log(rows) + rows)
