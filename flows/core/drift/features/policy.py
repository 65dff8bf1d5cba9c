"""The settings of feature drift, and its findings."""

from collections.abc import Mapping
from typing import NamedTuple

from flows.core.drift.levels import Level, Position, SliceMove


class FeaturePolicy(NamedTuple):
    """The sizes of reference and window, and the thresholds of feature drift.

    `reference` and `window` are in rows, `cool_down` and `period` in milliseconds of event time. A reference
    lasts at least two periods, each divided into `phases`. `warning` and `alarm` are PSI values.
    """

    reference: int = 4096
    window: int = 1000
    significance: float = 0.01
    warning: float = 0.1
    alarm: float = 0.25
    cool_down: int = 0
    period: int | None = None
    phases: int = 24


class DriftedColumn(NamedTuple):
    """A column that drifted.

    `statistic` is that of the Kolmogorov-Smirnov or the chi-square test, `p_value` adjusted by Benjamini and
    Hochberg. `before` and `after` are the means of a number, or the shares of the `category` that moved most.
    """

    column: str
    psi: float
    statistic: float
    p_value: float
    before: float
    after: float
    category: str | None
    slices: tuple[SliceMove, ...]


class FeatureAlarm(NamedTuple):
    """The columns that drifted, the largest PSI first, in a window of `width` rows since `since` (ms)."""

    level: Level
    moved: tuple[DriftedColumn, ...]
    width: int
    since: int
    position: Position


class ComparedWindow(NamedTuple):
    """The PSI of each column in a full window that began at `since` (ms); None if not comparable."""

    since: int
    psi: Mapping[str, float | None]
