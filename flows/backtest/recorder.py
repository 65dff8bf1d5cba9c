"""Records a backtest while it runs, and builds its report at the end."""

from collections.abc import Mapping, Sequence
from math import nan

from flows.backtest.backtest import Backtest, Progress
from flows.backtest.contents import (
    Curve,
    DeadReason,
    HeatMap,
    Mark,
    Reliability,
    Report,
    SliceTable,
    Version,
)
from flows.backtest.page import figure
from flows.core.drift.features import ComparedWindow
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.calibration import Calibration
from flows.core.evaluation.evaluation import RECENT, Evaluation, Values
from flows.core.evaluation.slices import fairness
from flows.core.learning.learner import Learner
from flows.core.stream.dead_tally import DeadTally
from flows.runtime.user_faults import fault_of

POINTS = 120  # the most points of a curve
_APART = 500  # the fewest events between points, since a point costs thousands of updates
_FEWEST = 20  # the fewest points; takes precedence over `_APART`
_NAMED = 2  # columns and slices in the text of a mark


class BacktestRecorder:
    """Records a backtest of `events` events: metrics over the last labels, drift signals and dead letters."""

    def __init__(self, test: Backtest, events: int) -> None:
        self.signals: list[DriftSignal] = []
        self.dead = DeadTally()
        self.records = 0
        self._test = test
        self._apart = max(events // POINTS, min(_APART, events // _FEWEST), 1)
        self._events = self._last_point = 0
        self._points: list[tuple[int, Values]] = []

    def add(self, progress: Progress) -> None:
        """Add the results of a batch."""
        self.signals += progress.signals
        self.records += progress.records
        for dead in progress.dead:
            self.dead.add(dead)
        for error in progress.errors:
            self.dead.failed(error)
        self._events += progress.events
        if self._events - self._last_point >= self._apart:
            self._add_point()

    def report(self) -> Report:
        """Return the report, when the backtest is complete."""
        if self._last_point < self._events:
            self._add_point()
        learner = self._test.learner
        evaluation = learner.evaluation
        return Report(
            learner.pipeline,
            _facts(learner, len(self._test.served), self.dead.total),
            _curves(self._points),
            [_mark(signal) for signal in self.signals if signal.status == "firing"],
            _heat_map(self._test.compared),
            None if evaluation.calibration is None else _reliability(evaluation.calibration),
            _slices(evaluation),
            _versions(learner, self._test.began),
            [
                DeadReason(reason, number, self.dead.first[reason])
                for reason, number in self.dead.number.most_common()
            ],
            fault_of(self.dead.error) if self.dead.error else None,
        )

    def _add_point(self) -> None:
        self._last_point = self._events
        if self._test.learner.evaluation.labels:
            self._points.append((self._test.learner.now, self._test.learner.evaluation.recent()))


def _facts(learner: Learner, events: int, dead_letters: int) -> Mapping[str, str]:
    counts = {
        "events": events,
        "labels": learner.evaluation.labels,
        "pending": learner.pending,
        "expired": learner.expired,
        "dead letters": dead_letters,
        "outliers": learner.outliers.rows,
    }
    facts = {name: f"{count:,}" for name, count in counts.items()}
    return facts | {name: figure(value) for name, value in learner.evaluation.values()["model"].items()}


def _curves(points: Sequence[tuple[int, Values]]) -> list[Curve]:
    if not points:
        return []
    times, first = [time for time, _ in points], points[0][1]
    return [
        Curve(
            metric,
            times,
            {predictor: [values[predictor][metric] for _, values in points] for predictor in first},
            f"over the last {RECENT:,} labels",
        )
        for metric in first["model"]
    ]


def _mark(signal: DriftSignal) -> Mark:
    change = f"{signal.kind} drift: {figure(signal.estimate_before)} to {figure(signal.estimate_after)}"
    names = [column.name for column in signal.columns[:_NAMED]]
    slices = [f"{each.column} {each.value}" for each in signal.slices[:_NAMED]]
    named = ", ".join([*names, *slices])
    return Mark(signal.time, signal.severity, f"{change}; {named}" if named else change)


def _heat_map(windows: Sequence[ComparedWindow]) -> HeatMap | None:
    """Return the PSI of all windows; the features that moved furthest come first."""
    if not windows:
        return None
    rows = {name: [window.psi[name] for window in windows] for name in windows[0].psi}
    furthest = sorted(rows, key=lambda name: -max(psi or 0.0 for psi in rows[name]))
    shown = {name: [nan if psi is None else psi for psi in rows[name]] for name in furthest}
    return HeatMap([window.since for window in windows], shown)


def _reliability(calibration: Calibration) -> Reliability:
    return Reliability(calibration.table(), calibration.expected_error(), calibration.brier())


def _slices(evaluation: Evaluation) -> list[SliceTable]:
    if evaluation.slices is None:
        return []
    tables = {column: evaluation.slices.rates(column) for column in evaluation.slices.columns}
    return [SliceTable(column, rows, fairness(rows)) for column, rows in tables.items()]


def _versions(learner: Learner, since: int) -> list[Version]:
    """Return the champion, which is the only model, since a backtest has no challenger."""
    model = learner.champion
    return [Version(model.version, "champion", since, model.learned, learner.lineage[model.version])]
