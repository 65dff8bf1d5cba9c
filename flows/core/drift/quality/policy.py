"""The settings of data quality, and its findings."""

from typing import Literal, NamedTuple

from flows.core.drift.columns import ColumnKind
from flows.core.drift.levels import Level

Fault = Literal["null", "range", "unseen", "rate"]

MOST_CATEGORIES = 1000  # a column with more categories is not checked for unseen ones
LEAST_ROWS = 30  # in an interval, or in its reference, for a share or a rate to be judged
RATE = "(events)"  # the column name of a finding about the rate of events


class Column(NamedTuple):
    """The kind of a column and its declared range; a missing bound is learned.

    `fill` is how long (ms of event time) its windows take to fill; a column whose windows never fill (`inf`)
    is not watched.
    """

    kind: ColumnKind
    low: float | None = None
    high: float | None = None
    fill: float = 0


class QualityPolicy(NamedTuple):
    """The thresholds of data quality.

    `interval`, `cool_down` and `period`, a multiple of the interval, are in milliseconds of event time.
    `warm_up` is in intervals, by default a week of hours, and at least a period. `warning` and `alarm` are
    rises of a share. `rate_warning` and `rate_alarm` are factors by which the rate rose or fell.
    """

    interval: int = 3_600_000
    warm_up: int = 168
    warning: float = 0.05
    alarm: float = 0.2
    rate_warning: float = 2.0
    rate_alarm: float = 5.0
    cool_down: int = 0
    period: int | None = None

    @property
    def parts(self) -> int:
        """The number of intervals in a period."""
        return self.period // self.interval if self.period else 1

    @property
    def learned(self) -> int:
        """The number of intervals in a reference."""
        return max(self.warm_up, self.parts)


class Finding(NamedTuple):
    """A fault in an interval: the share of the column's rows in the reference and now.

    For "rate", `before` and `after` are the numbers of events in an interval.
    """

    column: str
    fault: Fault
    level: Level
    before: float
    after: float


def level_of(value: float, warning: float, alarm: float) -> Level | None:
    """Return the highest level whose threshold the value reaches, if any.

    >>> level_of(0.01, 0.05, 0.2), level_of(0.05, 0.05, 0.2), level_of(0.3, 0.05, 0.2)
    (None, 'warning', 'alarm')
    """
    if value >= alarm:
        return "alarm"
    return "warning" if value >= warning else None
