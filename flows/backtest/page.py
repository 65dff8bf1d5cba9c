"""The report of a backtest as one HTML page: nothing to load, no script, for light and dark, wide and narrow.

`render` is a pure function of a `Report`. All text stands in HTML and only lines and dots in SVG, which is
stretched to the width that there is; so a phone shows the same charts with letters of the same size.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite, nan, sqrt
from typing import Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from flows.backtest.charts import Scale, Tick, path, time_axis, value_axis
from flows.core.evaluation.calibration import Bin, Brier
from flows.core.evaluation.slices import Fairness, SliceRates
from flows.core.stream.dead_tally import Dead
from flows.core.stream.times import iso
from flows.runtime.user_faults import Fault

_PSI_LEVELS = (0.05, 0.1, 0.25, 0.5)  # from .1 on a feature has moved, from .25 on it has moved far

_NUMBER_WIDTH = 3.0  # hundredths of a chart's width


class Curve(NamedTuple):
    """A metric over event time (ms), for each predictor; NaN where there was none.

    `note` says over which labels it is, such as "over the last 1,000 labels".
    """

    metric: str
    times: Sequence[int]
    values: Mapping[str, Sequence[float]]
    note: str = ""


class Mark(NamedTuple):
    """Something that happened at a time (ms): a drift signal, or a model that was promoted."""

    time: int
    kind: Literal["warning", "critical", "promotion"]
    text: str


class HeatMap(NamedTuple):
    """The population stability index of each feature in each window; a window is named by its begin (ms).

    NaN where a window had too few rows.
    """

    windows: Sequence[int]
    rows: Mapping[str, Sequence[float]]


class Reliability(NamedTuple):
    """The calibration of the scores that were served."""

    bins: Sequence[Bin]
    expected_error: float
    brier: Brier


class SliceTable(NamedTuple):
    """The groups of one column, and how far they are apart."""

    column: str
    groups: Sequence[SliceRates]
    fairness: Fairness


class Version(NamedTuple):
    """A model and its role since a time (ms), with the labels that it learned and where it is from."""

    version: str
    role: str
    since: int
    labels: int
    lineage: Mapping[str, object]


class DeadReason(NamedTuple):
    """Why records became dead letters: the reason, how many did, and the first of them."""

    reason: str
    records: int
    first: Dead


class Report(NamedTuple):
    """All that the page shows; `facts` are its first figures, by name, ready to be read."""

    title: str
    facts: Mapping[str, str]
    curves: Sequence[Curve] = ()
    marks: Sequence[Mark] = ()
    drift: HeatMap | None = None
    calibration: Reliability | None = None
    slices: Sequence[SliceTable] = ()
    versions: Sequence[Version] = ()
    dead: Sequence[DeadReason] = ()
    fault: Fault | None = None


def render(report: Report) -> str:
    """The page. What the report lacks has a section that says so."""
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
    """A number with four decimals, a dash where there is none.

    >>> figure(0.12345), figure(float("nan"))
    ('0.1235', '-')
    """
    return f"{value:,.4f}" if isfinite(value) else "-"


def percent(share: float) -> str:
    """A share in percent, a dash where there is none.

    >>> percent(0.1234), percent(float("nan"))
    ('12.3 %', '-')
    """
    return f"{100 * share:.1f} %" if isfinite(share) else "-"


def moment(time: int) -> str:
    """A time (ms) for people, in UTC.

    >>> moment(1_364_774_400_000)
    '2013-04-01 00:00'
    """
    return iso(time)[:16].replace("T", " ")


def psi_level(psi: float) -> str:
    """The shade of a stability index: 0 to 4, "none" without one.

    >>> psi_level(0.0), psi_level(0.1), psi_level(3.0), psi_level(float("nan"))
    ('0', '2', '4', 'none')
    """
    return str(sum(psi >= least for least in _PSI_LEVELS)) if isfinite(psi) else "none"


class _Line(NamedTuple):
    predictor: str
    path: str
    last: float


class _Strip(NamedTuple):
    """The part of a chart that belongs to a time, and what stands there."""

    at: float
    width: float
    text: str


class _Flag(NamedTuple):
    """Where a mark stands in a chart; its number in the list has room there, or is left out."""

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
    lines = [
        _Line(name, path([x.at(t) for t in times], [y.at(v) if isfinite(v) else nan for v in values]), last)
        for name, values in curve.values.items()
        for last in [next((value for value in reversed(values) if isfinite(value)), nan)]
    ]
    return _LineChart(curve, lines, _strips(curve, x), _flags(marks, x), across, up)


def _flags(marks: Sequence[Mark], x: Scale) -> list[_Flag]:
    flags: list[_Flag] = []
    free = 0.0  # from where on there is room for a number
    for number, mark in enumerate(marks, 1):
        if x.low <= mark.time <= x.high:
            at = x.at(mark.time)
            flags.append(_Flag(at, mark, number if at >= free else None))
            free = at + _NUMBER_WIDTH if at >= free else free
    return flags


def _strips(curve: Curve, x: Scale) -> list[_Strip]:
    """Each reaches from the middle before its time to the middle after it."""
    at = [x.at(time) for time in curve.times]
    bounds = [0.0, *((left + right) / 2 for left, right in pairwise(at)), 100.0]
    return [
        _Strip(round(left, 3), round(right - left, 3), f"{moment(time)}: {_said(curve, n)}")
        for n, (time, (left, right)) in enumerate(zip(curve.times, pairwise(bounds), strict=False))
    ]


def _said(curve: Curve, n: int) -> str:
    return ", ".join(f"{name} {figure(values[n])}" for name, values in curve.values.items())


class _Dot(NamedTuple):
    x: float
    y: float
    size: float
    text: str


def _dots(bins: Sequence[Bin]) -> list[_Dot]:
    """One for each bin with labels, with an area by their number."""
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
