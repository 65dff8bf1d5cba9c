"""What the kinds of drift have in common: the levels, the place of an alarm, warm-up and cool-down."""

from typing import Literal, NamedTuple

Detector = Literal["adwin", "ddm", "eddm", "hddm_a", "hddm_w", "page_hinkley", "kswin"]
Level = Literal["warning", "alarm"]
DriftKind = Literal["concept", "feature", "prediction", "quality"]


class Position(NamedTuple):
    """The place in the log of the record at which an alarm was raised."""

    topic: str
    partition: int
    offset: int


class Cleared(NamedTuple):
    """What an alarm or a warning told of is over, as the record at `position` showed."""

    position: Position


class ColumnMove(NamedTuple):
    """How a column changed: its mean, or the share of the `category` or of the `fault` that it tells of.

    `psi` and `p_value` are those of feature drift; `fault` is one of data quality.
    """

    name: str
    before: float
    after: float
    psi: float | None = None
    p_value: float | None = None
    category: str | None = None
    fault: str | None = None


class SliceMove(NamedTuple):
    """The mean of a number, or of the error, among the rows with one value of a slice's column.

    `rows` is how many of them there were since the change, or in the window.
    """

    column: str
    value: str
    before: float
    after: float
    rows: int


LEAST_IN_SLICE = 30  # rows before and after, for a slice to be compared


class Gate:
    """Holds back what comes in the warm-up, and alarms too soon after the last one.

    `warm_up` is in rows (or labels); `cool_down` in milliseconds of event time. A warning closes the gate to
    warnings only, an alarm to both.

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
        """Whether the row or label number `count`, at `time` (ms), may raise this level."""
        return count >= self._warm_up and time >= self._quiet_until[level]

    def close(self, level: Level, time: int) -> None:
        """Something of this level was raised at `time` (ms)."""
        levels: tuple[Level, ...] = ("warning",) if level == "warning" else ("warning", "alarm")
        for each in levels:
            self._quiet_until[each] = time + self._cool_down
