"""Types shared by all kinds of drift: levels, log positions, moves of columns and slices, and the gate."""

from typing import Literal, NamedTuple

Detector = Literal["adwin", "ddm", "eddm", "hddm_a", "hddm_w", "page_hinkley", "kswin"]
Level = Literal["warning", "alarm"]
DriftKind = Literal["concept", "feature", "prediction", "quality", "attribution"]
SignalDetector = Literal[Detector, "psi", "data_quality", "ndcg"]
Severity = Literal["warning", "critical"]
Status = Literal["firing", "resolved"]

NAMED = 5  # the most columns in a signal
LEAST_IN_SLICE = 30  # rows before and after, for a slice to be compared


class Position(NamedTuple):
    """The position of a record in the log."""

    topic: str
    partition: int
    offset: int


class Cleared(NamedTuple):
    """The condition behind earlier alarms or warnings has cleared at the record at `position`."""

    position: Position


class ColumnMove(NamedTuple):
    """The change of a column: of its mean, or of the share of rows with the `category` or the `fault`.

    For attribution drift it is that of its rank, from 1.
    `psi` and `p_value` belong to feature drift, `fault` to data quality.
    """

    name: str
    before: float
    after: float
    psi: float | None = None
    p_value: float | None = None
    category: str | None = None
    fault: str | None = None


class SliceMove(NamedTuple):
    """The change of the mean of a number or of the error, over the rows with one value of a slice column.

    `rows` is the number of these rows since the change or in the window.
    """

    column: str
    value: str
    before: float
    after: float
    rows: int


class Gate:
    """Suppresses alarms and warnings during warm-up and during the cool-down after the last one.

    `warm_up` is in rows or labels, `cool_down` in milliseconds of event time. A warning starts the cool-down
    of warnings only, an alarm that of both.

    >>> gate = Gate(warm_up=2, cool_down=1000)
    >>> gate.is_open("alarm", 1, 0), gate.is_open("alarm", 2, 0)
    (False, True)
    >>> gate.close("warning", 0)
    >>> gate.is_open("warning", 3, 999), gate.is_open("alarm", 3, 999), gate.is_open("warning", 3, 1000)
    (False, True, True)
    """

    def __init__(self, warm_up: int, cool_down: int) -> None:
        self._warm_up = warm_up
        self._cool_down = cool_down
        self._quiet_until: dict[Level, int] = {"warning": 0, "alarm": 0}

    def is_open(self, level: Level, count: int, time: int) -> bool:
        """Return whether row or label number `count`, at `time` (ms), may raise this level."""
        return count >= self._warm_up and time >= self._quiet_until[level]

    def close(self, level: Level, time: int) -> None:
        """Start the cool-down after this level was raised at `time` (ms)."""
        levels: tuple[Level, ...] = ("warning",) if level == "warning" else ("warning", "alarm")
        for each in levels:
            self._quiet_until[each] = time + self._cool_down
