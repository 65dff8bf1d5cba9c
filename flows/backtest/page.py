"""The report of a backtest as one self-contained HTML page without scripts, responsive, light and dark.

`render` is a pure function of a `Report`. Text is HTML; only lines and dots are SVG, which is stretched to
the available width. So a phone shows the same charts with the same size of text.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite, nan, sqrt
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from flows.backtest.charts import Scale, Tick, path, time_axis, value_axis
from flows.backtest.contents import Curve, Mark, Report
from flows.core.evaluation.calibration import Bin
from flows.core.stream.times import iso

_PSI_LEVELS = (0.05, 0.1, 0.25, 0.5)  # by convention 0.1 is a warning and 0.25 an alarm

_NUMBER_WIDTH = 3.0  # hundredths of a chart's width


def render(report: Report) -> str:
    """Return the page. A section without contents says that there are none."""
    environment = Environment(
        loader=PackageLoader("flows.backtest"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"figure": figure, "moment": moment, "percent": percent, "level": psi_level}
    return environment.get_template("report.html").render(
        report=report,
        charts=[_line_chart(curve, report.marks) for curve in report.curves],
        dots=_dots(report.calibration.bins) if report.calibration else (),
        levels=_PSI_LEVELS,
    )


def figure(value: float) -> str:
    """Format a number with four decimals, a missing one as a dash.

    >>> figure(0.12345), figure(float("nan"))
    ('0.1235', '-')
    """
    return f"{value:,.4f}" if isfinite(value) else "-"


def percent(share: float) -> str:
    """Format a share in percent, a missing one as a dash.

    >>> percent(0.1234), percent(float("nan"))
    ('12.3 %', '-')
    """
    return f"{100 * share:.1f} %" if isfinite(share) else "-"


def moment(time: int) -> str:
    """Format a time (ms) in UTC.

    >>> moment(1_364_774_400_000)
    '2013-04-01 00:00'
    """
    return iso(time)[:16].replace("T", " ")


def psi_level(psi: float) -> str:
    """Return the shade of a PSI value: 0 to 4, or "none" for a missing one.

    >>> psi_level(0.0), psi_level(0.1), psi_level(3.0), psi_level(float("nan"))
    ('0', '2', '4', 'none')
    """
    return str(sum(psi >= least for least in _PSI_LEVELS)) if isfinite(psi) else "none"


class _Line(NamedTuple):
    predictor: str
    path: str
    last: float  # the last finite value


class _Strip(NamedTuple):
    """The part of a chart that belongs to a time, and its tooltip."""

    at: float
    width: float
    text: str


class _Flag(NamedTuple):
    """A mark in a chart, with its number in the list if there is room for it."""

    at: float
    mark: Mark
    number: int | None


class _LineChart(NamedTuple):
    curve: Curve
    lines: list[_Line]
    strips: list[_Strip]
    flags: list[_Flag]
    across: list[Tick]
    up: list[Tick]


def _line_chart(curve: Curve, marks: Sequence[Mark]) -> _LineChart:
    times = curve.times
    x, across = time_axis(times[0], times[-1]) if times else (Scale(0, 1), [])
    y, up = value_axis(value for values in curve.values.values() for value in values)
    lines = [_line(name, times, values, x, y) for name, values in curve.values.items()]
    return _LineChart(curve, lines, _strips(curve, x), _flags(marks, x), across, up)


def _line(predictor: str, times: Sequence[int], values: Sequence[float], x: Scale, y: Scale) -> _Line:
    finite = [value for value in values if isfinite(value)]
    heights = [y.at(value) if isfinite(value) else nan for value in values]
    return _Line(predictor, path([x.at(time) for time in times], heights), finite[-1] if finite else nan)


def _flags(marks: Sequence[Mark], x: Scale) -> list[_Flag]:
    flags: list[_Flag] = []
    free = 0.0  # where the next number has room
    for number, mark in enumerate(marks, 1):
        if x.low <= mark.time <= x.high:
            at = x.at(mark.time)
            flags.append(_Flag(at, mark, number if at >= free else None))
            free = at + _NUMBER_WIDTH if at >= free else free
    return flags


def _strips(curve: Curve, x: Scale) -> list[_Strip]:
    """Return a strip for each time, from halfway to the time before to halfway to the time after."""
    at = [x.at(time) for time in curve.times]
    bounds = [0.0, *((left + right) / 2 for left, right in pairwise(at)), 100.0]
    return [
        _Strip(round(left, 3), round(right - left, 3), f"{moment(time)}: {_values_text(curve, n)}")
        for n, (time, (left, right)) in enumerate(zip(curve.times, pairwise(bounds), strict=False))
    ]


def _values_text(curve: Curve, n: int) -> str:
    return ", ".join(f"{name} {figure(values[n])}" for name, values in curve.values.items())


class _Dot(NamedTuple):
    x: float
    y: float
    size: float
    text: str


def _dots(bins: Sequence[Bin]) -> list[_Dot]:
    """Return a dot for each bin with labels, larger for more labels."""
    most = max((row.labels for row in bins), default=0)
    return [
        _Dot(
            round(100 * row.score, 2),
            round(100 * row.share, 2),
            round(1 + 2.5 * sqrt(row.labels / most), 2),
            f"scores {row.low:g} to {row.high:g}: {row.labels:,} labels, mean score {figure(row.score)}, "
            f"true {percent(row.share)}",
        )
        for row in bins
        if row.labels
    ]
