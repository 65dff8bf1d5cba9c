"""The watch over one pipeline: concept, feature and prediction drift and data quality, told as signals.

Each kind has a detector of its own (`concept_drift`, `feature_drift`, `data_quality`). Labels are looked at
one by one. Served predictions are kept until there are enough of them to look at together, which costs a
fraction; data quality is also looked at when an interval has passed. Both are told by the stream itself, so
that neither batches nor restarts change a signal.

Nothing is judged before it can be. Features are compared from the time on when their windows are full; so is
the error of predictions whose features were all full; and what the model says once it has learned enough such
predictions.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from flows.core.drift import concept as concept_drift
from flows.core.drift import features as feature_drift
from flows.core.drift import quality as data_quality
from flows.core.drift.columns import ColumnKind
from flows.core.drift.concept import ConceptDrift
from flows.core.drift.features import ComparedWindow, DriftedColumn, FeatureDrift, FeaturePolicy
from flows.core.drift.levels import Cleared, ColumnMove, Detector, DriftKind, Level, Position, SliceMove
from flows.core.drift.quality import Column, DataQuality, QualityPolicy
from flows.core.drift.signal import DriftSignal, Severity, SignalDetector, severity, signal_id

PREDICTION_BATCH = 256  # served predictions that are looked at together, at most
NAMED = 5  # columns that a signal names
PREDICTION = "prediction"  # the name of what the model says, among the columns
_LARGEST = 1e150  # the largest number that a message takes
_LONGEST = 256  # characters of a category


class MonitorSettings(NamedTuple):
    """What is watched beside the error.

    `columns` are those of the features, in their order; `slices` names those by which the error and the means
    of numbers are told apart. Predictions are compared when the model has learned `warm_up` labels, or events
    where it needs no labels.
    """

    columns: Mapping[str, Column] = {}
    kinds: Sequence[DriftKind] = ("concept",)
    features: FeaturePolicy = FeaturePolicy()
    quality: QualityPolicy = QualityPolicy()
    slices: Sequence[str] = ()
    warm_up: int = 0


class SignalContext(NamedTuple):
    """When (event time, ms) and where in the log something was seen, and the version of the champion."""

    time: int
    position: Position
    version: str


class _Served(NamedTuple):
    features: Sequence[Any]
    said: float | str
    moment: SignalContext
    is_settled: bool  # the model has had its warm-up


class _Seen(NamedTuple):
    """What a detector says, in the terms of a signal."""

    kind: DriftKind
    detector: SignalDetector
    level: Level
    severity: Severity
    before: float
    after: float
    width: int
    since: int
    columns: Sequence[ColumnMove]
    slices: Sequence[SliceMove]


class DriftMonitor:
    """Watches one pipeline. `detector` names the one in `concept`.

    State: that of the detectors, at most 512 served predictions, and a signal for each kind and severity
    that is not over.
    """

    def __init__(
        self, pipeline: str, detector: Detector, concept: ConceptDrift, watched: MonitorSettings
    ) -> None:
        self._pipeline = pipeline
        self._detector = detector
        self._concept = concept
        self._watched = watched
        fills = {name: column.fill for name, column in watched.columns.items()}
        kinds = {name: column.kind for name, column in watched.columns.items()}
        self._features = FeatureDrift(kinds, watched.features, watched.slices, fills)
        self._predictions: FeatureDrift | None = None  # known by the first one: numbers, or classes
        self._quality = DataQuality(watched.columns, watched.quality)
        names = list(watched.columns)
        self._slices = [names.index(name) for name in watched.slices]
        self._fill = max((fill for fill in fills.values() if fill < inf), default=0)
        self._full_at = -inf if self._fill == 0 else inf  # the time (ms) when all windows are full
        self._warm_up = watched.warm_up  # labels to learn until the model has had its own
        self._kept: list[_Served] = []  # for feature and prediction drift
        self._interval: list[_Served] = []  # for data quality
        self._raised: dict[DriftKind, int] = {}
        self._open: dict[tuple[DriftKind, Severity], DriftSignal] = {}

    @property
    def compared(self) -> ComparedWindow | None:
        """The last full window of the features, beside the reference."""
        return self._features.compared

    def served(
        self, features: Sequence[Any], said: float | str, moment: SignalContext
    ) -> Iterator[DriftSignal]:
        """The model said this of these features; those of another feature plan are left out."""
        if self._full_at == inf:
            self._full_at = moment.time + self._fill
        if not self._watched.columns or len(features) != len(self._watched.columns):
            return
        served = _Served(features, said, moment, self._warm_up <= 0)
        self._kept.append(served)
        self._interval.append(served)
        if len(self._kept) >= PREDICTION_BATCH:
            kept, self._kept = self._kept, []
            yield from self._look(("feature", "prediction"), kept)
        length = self._watched.quality.interval
        is_past = moment.time // length > self._interval[0].moment.time // length
        if is_past or len(self._interval) >= PREDICTION_BATCH:
            interval, self._interval = self._interval, []
            yield from self._look(("quality",), interval)

    def judged(
        self, error: float, wrong: bool, asked: int, features: Sequence[Any], moment: SignalContext
    ) -> Iterator[DriftSignal]:
        """A label showed this error of the prediction that was served at `asked` (ms) with these features."""
        if "concept" not in self._watched.kinds or asked < self._full_at:
            return
        known = len(features) == len(self._watched.columns)
        slices = [features[index] if known else None for index in self._slices]
        found = self._concept.update(error, wrong, moment.time, moment.position, slices)
        if isinstance(found, Cleared):
            yield from self._over("concept", moment)
        elif found is not None:
            yield self._signal(self._risen(found), moment)

    def learned(self, asked: int) -> None:
        """The model learned the prediction that was served at `asked` (ms)."""
        if asked >= self._full_at:
            self._warm_up -= 1

    def promoted(self, moment: SignalContext) -> Iterator[DriftSignal]:
        """A challenger was better and is the champion now: the concept drift is answered, and so over."""
        yield from self._over("concept", moment)

    def _look(self, kinds: Sequence[DriftKind], served: Sequence[_Served]) -> Iterator[DriftSignal]:
        rows = [each.features for each in served]
        times = [each.moment.time for each in served]
        positions = [each.moment.position for each in served]
        moments = {each.moment.position: each.moment for each in served}
        for kind in [kind for kind in kinds if kind in self._watched.kinds]:
            found: Sequence[feature_drift.FeatureAlarm | data_quality.QualityAlarm | Cleared]
            if kind == "feature":
                found = self._features.update(rows, times, positions)
            elif kind == "prediction":
                found = self._compare_predictions([each for each in served if each.is_settled])
            else:
                found = self._quality.update(rows, times, positions)
            for each in found:
                moment = moments[each.position]
                if isinstance(each, Cleared):
                    yield from self._over(kind, moment)
                elif isinstance(each, feature_drift.FeatureAlarm):
                    yield self._signal(self._moved(kind, each), moment)
                else:
                    yield self._signal(_broken(each), moment)

    def _compare_predictions(
        self, served: Sequence[_Served]
    ) -> Sequence[feature_drift.FeatureAlarm | Cleared]:
        if not served:
            return []
        if self._predictions is None:
            kind: ColumnKind = "category" if isinstance(served[0].said, str) else "number"
            self._predictions = FeatureDrift({PREDICTION: kind}, self._watched.features)
        said = [(each.said,) for each in served]
        moments = [each.moment for each in served]
        return self._predictions.update(
            said, [moment.time for moment in moments], [moment.position for moment in moments]
        )

    def _risen(self, alarm: concept_drift.ConceptAlarm) -> _Seen:
        bad = severity(alarm.before, alarm.after) if alarm.level == "alarm" else "warning"
        rise = (alarm.before, alarm.after, alarm.width, alarm.since)
        return _Seen(
            "concept", self._detector, alarm.level, bad, *rise, self._furthest(NAMED), _named(alarm.slices)
        )

    def _moved(self, kind: DriftKind, alarm: feature_drift.FeatureAlarm) -> _Seen:
        first, bad = alarm.moved[0], _severity(alarm.level)
        columns = [_column(moved) for moved in alarm.moved[:NAMED]]
        if kind == "prediction":
            columns += self._furthest(NAMED - 1)
        change = (first.before, first.after, alarm.width, alarm.since)
        return _Seen(kind, "psi", alarm.level, bad, *change, columns, _named(first.slices))

    def _furthest(self, count: int) -> list[ColumnMove]:
        """The features that were furthest from the reference in the last full window, drifted or not."""
        return [_column(moved) for moved in self._features.furthest[:count] if moved.psi > 0]

    def _signal(self, seen: _Seen, moment: SignalContext) -> DriftSignal:
        number = self._raised[seen.kind] = self._raised.get(seen.kind, 0) + 1
        place = moment.position
        cause = (self._pipeline, seen.kind, seen.detector, seen.severity)
        signal = DriftSignal(
            id=signal_id(*cause, "firing", place, seen.since),
            pipeline=self._pipeline,
            model_version=moment.version,
            detector=seen.detector,
            kind=seen.kind,
            level=seen.level,
            severity=seen.severity,
            sequence=number,
            time=moment.time,
            estimate_before=_sendable(seen.before),
            estimate_after=_sendable(seen.after),
            width=seen.width,
            since=seen.since,
            topic=place.topic,
            partition=place.partition,
            offset=place.offset,
            columns=tuple(seen.columns),
            slices=tuple(seen.slices),
        )
        self._open[seen.kind, seen.severity] = signal
        return signal

    def _over(self, kind: DriftKind, moment: SignalContext) -> Iterator[DriftSignal]:
        """End all that was raised of this kind."""
        for key in [key for key in self._open if key[0] == kind]:
            yield self._open.pop(key).resolved(moment.version, moment.time, moment.position)


def _broken(alarm: data_quality.QualityAlarm) -> _Seen:
    worst, bad = alarm.findings[0], _severity(alarm.level)
    columns = [ColumnMove(f.column, f.before, f.after, fault=f.fault) for f in alarm.findings[:NAMED]]
    change = (worst.before, worst.after, alarm.width, alarm.since)
    return _Seen("quality", "data_quality", alarm.level, bad, *change, columns, ())


def _severity(level: Level) -> Severity:
    return "critical" if level == "alarm" else "warning"


def _column(moved: DriftedColumn) -> ColumnMove:
    category = None if moved.category is None else _text(moved.category)
    before, after = _sendable(moved.before), _sendable(moved.after)
    return ColumnMove(moved.column, before, after, moved.psi, moved.p_value, category)


def _named(slices: Sequence[SliceMove]) -> list[SliceMove]:
    return [
        move._replace(value=_text(move.value), before=_sendable(move.before), after=_sendable(move.after))
        for move in slices
    ]


def _text(category: str) -> str:
    """The category as a message takes it: not empty, and not longer than a name."""
    return category[:_LONGEST] or "(empty)"


def _sendable(number: float) -> float:
    """The number within what a message takes: JSON has no infinity."""
    return max(-_LARGEST, min(_LARGEST, number))
