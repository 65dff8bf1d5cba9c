"""The contents of a backtest's report."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from flows.core.evaluation.calibration import Bin, Brier
from flows.core.evaluation.slices import Fairness, SliceRates
from flows.core.stream.dead_tally import Dead
from flows.runtime.user_faults import UserFault


class Curve(NamedTuple):
    """A metric over event time (ms) for each predictor, NaN where it is undefined.

    `note` names the labels it covers, such as "over the last 1,000 labels".
    """

    metric: str
    times: Sequence[int]
    values: Mapping[str, Sequence[float]]
    note: str = ""


class Mark(NamedTuple):
    """An event at a time (ms): a drift signal, or the promotion of a model."""

    time: int
    kind: Literal["warning", "critical", "promotion"]
    text: str


class HeatMap(NamedTuple):
    """The PSI of each feature in each window, NaN if not comparable; `windows` are their start times (ms)."""

    windows: Sequence[int]
    rows: Mapping[str, Sequence[float]]


class Reliability(NamedTuple):
    """The calibration of the served scores."""

    bins: Sequence[Bin]
    expected_error: float
    brier: Brier


class SliceTable(NamedTuple):
    """The groups of one column, and the differences between them."""

    column: str
    groups: Sequence[SliceRates]
    fairness: Fairness


class Version(NamedTuple):
    """A model, its role since a time (ms), the number of labels it learned, and its lineage."""

    version: str
    role: str
    since: int
    labels: int
    lineage: Mapping[str, object]


class DeadReason(NamedTuple):
    """A reason for dead letters, the number of records, and the first one."""

    reason: str
    records: int
    first: Dead


class Report(NamedTuple):
    """The contents of the page; `facts` are the formatted figures at its top, by name."""

    title: str
    facts: Mapping[str, str]
    curves: Sequence[Curve] = ()
    marks: Sequence[Mark] = ()
    drift: HeatMap | None = None
    calibration: Reliability | None = None
    slices: Sequence[SliceTable] = ()
    versions: Sequence[Version] = ()
    dead: Sequence[DeadReason] = ()
    fault: UserFault | None = None
