"""Arithmetic without rounding: numbers as whole multiples of 2**-100.

A float times a power of two is exact, and Python's integers never round. So a sum depends only on its
members, not on the order in which they were added and removed: it has the same bits live, after a restart and
with records out of order. A value keeps every bit down to 2**-100, about 8e-31.
"""

UNIT = 2**100
_UNIT = float(UNIT)
ONE = 1 / _UNIT  # the value of one unit
_SQUARE = UNIT * UNIT


def fixed(value: float) -> int:
    """Return `value`, up to 1e277, in units of 2**-100.

    >>> total(fixed(0.1) + fixed(1e17) - fixed(1e17))
    0.1
    """
    return int(value * _UNIT)


def total(units: int) -> float:
    """Return the float nearest to `units`."""
    return float(units) * ONE


def variance(count: int, units: int, squares: int) -> float | None:
    """Return the sample variance of `count` values from their sum and sum of squares; None below two.

    >>> values = [fixed(v) for v in (1e9, 1e9 + 1, 1e9 + 2)]
    >>> variance(3, sum(values), sum(v * v for v in values))
    1.0
    """
    if count < 2:
        return None
    return (count * squares - units * units) / (count * (count - 1) * _SQUARE)
