"""The geometry of the report's charts: scales, ticks and paths, in percent of width and height."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import ceil, floor, isfinite, log10
from typing import Literal, NamedTuple

import numpy as np

_Unit = Literal["m", "h", "D", "M", "Y"]  # NumPy's units: m is a minute, M a month

_TIME_STEPS: tuple[tuple[_Unit, int], ...] = (
    ("m", 1), ("m", 5), ("m", 15), ("h", 1), ("h", 3), ("h", 6), ("h", 12), ("D", 1), ("D", 2), ("D", 7),
    ("D", 14), ("M", 1), ("M", 2), ("M", 3), ("M", 6), ("Y", 1), ("Y", 2), ("Y", 5), ("Y", 10), ("Y", 50),
)  # fmt: skip
_TIME_FORMATS = {"m": "%H:%M", "h": "%d %b %H:%M", "D": "%d %b", "M": "%b %Y", "Y": "%Y"}
_MOST_TICKS = 5  # of time, whose labels must fit the width of a phone


class Scale(NamedTuple):
    """Maps `low` to 0 and `high` to 100."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return the place of a value, rounded to what is visible.

        >>> Scale(10, 30).at(15)
        25.0
        """
        return round(100 * (value - self.low) / ((self.high - self.low) or 1), 3)


class Tick(NamedTuple):
    """A labelled tick of an axis."""

    at: float
    label: str


def value_axis(values: Iterable[float]) -> tuple[Scale, list[Tick]]:
    """Return a scale that contains all finite values, with 3 to 6 round ticks; 0 to 1 without values.

    >>> scale, ticks = value_axis([0.52, 0.78])
    >>> scale, [tick.label for tick in ticks]
    (Scale(low=0.5, high=0.8), ['0.5', '0.6', '0.7', '0.8'])
    """
    finite = [value for value in values if isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    span = (high - low) or abs(high) or 1.0
    step = _round_step(span / 4)
    first, last = floor(low / step), ceil(high / step)
    last += first == last
    scale = Scale(round(first * step, 12), round(last * step, 12))
    decimals = max(0, -floor(log10(step)))
    return scale, [Tick(scale.at(n * step), f"{n * step:,.{decimals}f}") for n in range(first, last + 1)]


def time_axis(start: int, end: int) -> tuple[Scale, list[Tick]]:
    """Return a scale from `start` to `end` (ms), with at most 5 ticks at round times (UTC).

    >>> day = 86_400_000
    >>> [tick.label for tick in time_axis(0, 100 * day)[1]]
    ['Jan 1970', 'Feb 1970', 'Mar 1970', 'Apr 1970']
    """
    scale = Scale(start, end)
    for unit, step in _TIME_STEPS:
        times = _round_times(start, end, unit, step)
        if len(times) <= _MOST_TICKS:
            break
    return scale, [
        Tick(scale.at(time), datetime.fromtimestamp(time / 1000, UTC).strftime(_TIME_FORMATS[unit]))
        for time in times
    ]


def path(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return an SVG path through these points, interrupted at values that are not finite.

    The y axis of SVG points down. A point without neighbours is a line of length 0, drawn as a dot.

    >>> path([0, 10, 20, 30], [0, 50, float("nan"), 100])
    'M0 100L10 50M30 0h0'
    """
    parts: list[str] = []
    before = False
    for number, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if isfinite(y):
            alone = not before and not (number + 1 < len(ys) and isfinite(ys[number + 1]))
            parts.append(f"{'L' if before else 'M'}{x:g} {100 - y:g}{'h0' if alone else ''}")
        before = isfinite(y)
    return "".join(parts)


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2 or 5 times a power of ten that is at least `least`, up to rounding."""
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _round_times(start: int, end: int, unit: _Unit, step: int) -> list[int]:
    """Return the times (ms) at multiples of a step, at most two more than an axis may have."""
    first, last = (
        int(np.datetime64(time, "ms").astype(f"datetime64[{unit}]").astype(int)) for time in (start, end)
    )
    numbers = range(first // step * step, last + 1, step)[: _MOST_TICKS + 2]
    times = [int(np.datetime64(n, unit).astype("datetime64[ms]").astype(int)) for n in numbers]
    return [time for time in times if time >= start]
