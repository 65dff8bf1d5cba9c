"""The drift monitor of one pipeline: concept, feature, prediction and attribution drift, and data quality.

Each kind has its own detector. Labels are checked one by one. Served predictions are checked in batches,
which costs a fraction; data quality is also checked at the end of each interval. The boundaries depend on the
stream only, so neither the batches of a flow nor restarts change a signal.

Nothing is judged too early. Features are compared once their windows are full. Errors count if the features
of their prediction had full windows. Predictions, and the features' contributions to them, are compared once
the model has learned enough of those.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from flows.core.drift.attribution import AttributionDrift
from flows.core.drift.columns import ColumnKind
from flows.core.drift.concept import ConceptDrift
from flows.core.drift.detections import (
    Detection,
    attribution_detection,
    column_detection,
    column_move,
    concept_detection,
    quality_detection,
)
from flows.core.drift.features import ComparedWindow, FeatureAlarm, FeatureDrift, FeaturePolicy
from flows.core.drift.levels import NAMED, Cleared, ColumnMove, Detector, DriftKind, Position, Severity
from flows.core.drift.quality import Column, DataQuality, QualityAlarm, QualityPolicy
from flows.core.drift.signal import DriftSignal, signal_id

PREDICTION_BATCH = 256  # the most served predictions that are checked together
PREDICTION = "prediction"  # the column name of the predictions


class MonitorSettings(NamedTuple):
    """The settings of the monitor, besides those of the error's detector.

    `columns` are the features, in order. `slices` names those by which the error and the means of numbers are
    broken down. Predictions and contributions are compared when the model has learned `warm_up` labels, or
    events if it needs no labels.
    """

    columns: Mapping[str, Column] = {}
    kinds: Sequence[DriftKind] = ("concept",)
    features: FeaturePolicy = FeaturePolicy()
    quality: QualityPolicy = QualityPolicy()
    slices: Sequence[str] = ()
    warm_up: int = 0


class SignalContext(NamedTuple):
    """The event time (ms) and the position of a record, and the version of the champion at that time."""

    time: int
    position: Position
    version: str


# the features, the monitored value, and whether the model had completed its warm-up
_Served = tuple[Sequence[Any], float | str, SignalContext, bool]


class DriftMonitor:
    """Watches one pipeline; `detector` is the name of the one in `concept`.

    State: that of the detectors, at most 512 served predictions, and one unresolved signal for each kind and
    severity.
    """

    def __init__(
        self, pipeline: str, detector: Detector, concept: ConceptDrift, settings: MonitorSettings
    ) -> None:
        self._pipeline = pipeline
        self._detector = detector
        self._concept = concept
        self._settings = settings
        fills = {name: column.fill for name, column in settings.columns.items()}
        kinds = {name: column.kind for name, column in settings.columns.items()}
        self._features = FeatureDrift(kinds, settings.features, settings.slices, fills)
        self._predictions: FeatureDrift | None = None  # created when the first one shows its kind
        self._quality = DataQuality(settings.columns, settings.quality)
        self._attribution = AttributionDrift(settings.features.window, settings.features.cool_down)
        names = list(settings.columns)
        self._slices = [names.index(name) for name in settings.slices]
        self._fill = max((fill for fill in fills.values() if fill < inf), default=0)
        self._full_at = -inf if self._fill == 0 else inf  # the time (ms) at which all windows are full
        self._warm_up = settings.warm_up  # labels still to learn
        self._batch: list[_Served] = []  # for feature and prediction drift
        self._interval: list[_Served] = []  # for data quality
        self._interval_end = 0  # ms
        self._raised: dict[DriftKind, int] = {}
        self._open: dict[tuple[DriftKind, Severity], DriftSignal] = {}

    @property
    def compared(self) -> ComparedWindow | None:
        """The last full window of features, compared with the reference."""
        return self._features.compared

    @property
    def open_signals(self) -> Sequence[DriftSignal]:
        """The signals that are not resolved yet, the last one of each kind and severity."""
        return list(self._open.values())

    @property
    def attributable(self) -> Sequence[Sequence[Any]]:
        """A sample of a full window, whose contributions `attributed` must get next; else empty."""
        return self._attribution.sample

    def served(
        self, features: Sequence[Any], value: float | str, context: SignalContext
    ) -> Iterable[DriftSignal]:
        """Add a served prediction with this value; skip it if it is of another feature plan."""
        time, columns, batch, interval = context.time, self._settings.columns, self._batch, self._interval
        if self._full_at == inf:
            self._full_at = time + self._fill
        if not columns or len(features) != len(columns):
            return ()
        if not interval:
            length = self._settings.quality.interval
            self._interval_end = time // length * length + length
        served = (features, value, context, self._warm_up <= 0)
        batch.append(served)
        interval.append(served)
        is_past = time >= self._interval_end
        if is_past or len(batch) >= PREDICTION_BATCH or len(interval) >= PREDICTION_BATCH:
            return self._check_served(is_past)
        return ()

    def judged(
        self, error: float, wrong: bool, asked: int, features: Sequence[Any], context: SignalContext
    ) -> Iterable[DriftSignal]:
        """Add the error of the prediction that was served at `asked` (ms) with these features."""
        if "concept" not in self._settings.kinds or asked < self._full_at:
            return ()
        slices = self._slices_of(features) if self._slices else ()
        found = self._concept.update(error, wrong, context.time, context.position, slices)
        if found is None:
            return ()
        if isinstance(found, Cleared):
            return self._resolve("concept", context)
        return [self._raise(concept_detection(found, self._detector, self._furthest(NAMED)), context)]

    def learned(self, asked: int) -> None:
        """Count for the warm-up that the model learned the prediction served at `asked` (ms)."""
        if asked >= self._full_at:
            self._warm_up -= 1

    def attributed(
        self, inputs: Mapping[str, float], leaves: int, context: SignalContext
    ) -> Iterable[DriftSignal]:
        """Compare the mean absolute contributions of the champion's inputs, empty if they are not known."""
        found = self._attribution.compare(inputs, leaves, context.time, context.position)
        if found is None:
            return ()
        if isinstance(found, Cleared):
            return self._resolve("attribution", context)
        return [self._raise(attribution_detection(found), context)]

    def promoted(self, context: SignalContext) -> Iterable[DriftSignal]:
        """Resolve the drift of the champion before, since another model was promoted."""
        self._attribution.restart()
        return [*self._resolve("concept", context), *self._resolve("attribution", context)]

    def _slices_of(self, features: Sequence[Any]) -> Sequence[Any]:
        """Return the values of the slice columns, nulls if the features are of another feature plan."""
        if len(features) != len(self._settings.columns):
            return [None] * len(self._slices)
        return [features[index] for index in self._slices]

    def _check_served(self, is_past: bool) -> Iterator[DriftSignal]:
        if len(self._batch) >= PREDICTION_BATCH:
            batch, self._batch = self._batch, []
            yield from self._check(("feature", "prediction"), batch)
            if "attribution" in self._settings.kinds:
                known = [each for each in batch if each[3]]
                self._attribution.add([each[0] for each in known], [each[2].time for each in known])
        if is_past or len(self._interval) >= PREDICTION_BATCH:
            interval, self._interval = self._interval, []
            yield from self._check(("quality",), interval)

    def _check(self, kinds: Sequence[DriftKind], served: Sequence[_Served]) -> Iterator[DriftSignal]:
        for kind in kinds:
            if kind not in self._settings.kinds:
                continue
            for found in self._update(kind, served):
                context = next(each[2] for each in reversed(served) if each[2].position == found.position)
                if isinstance(found, Cleared):
                    yield from self._resolve(kind, context)
                elif isinstance(found, FeatureAlarm):
                    columns = self._columns(kind, found)
                    yield self._raise(column_detection(kind, found, columns), context)
                else:
                    yield self._raise(quality_detection(found), context)

    def _update(
        self, kind: DriftKind, served: Sequence[_Served]
    ) -> Sequence[FeatureAlarm | QualityAlarm | Cleared]:
        if kind == "prediction":
            return self._compare_predictions([each for each in served if each[3]])
        rows, _, contexts, _ = zip(*served, strict=True)
        times, positions, _ = zip(*contexts, strict=True)
        if kind == "feature":
            return self._features.update(rows, times, positions)
        return self._quality.update(rows, times, positions)

    def _compare_predictions(self, served: Sequence[_Served]) -> Sequence[FeatureAlarm | Cleared]:
        if not served:
            return []
        _, values, contexts, _ = zip(*served, strict=True)
        times, positions, _ = zip(*contexts, strict=True)
        if self._predictions is None:
            kind: ColumnKind = "category" if isinstance(values[0], str) else "number"
            self._predictions = FeatureDrift({PREDICTION: kind}, self._settings.features)
        return self._predictions.update([(value,) for value in values], times, positions)

    def _columns(self, kind: DriftKind, alarm: FeatureAlarm) -> list[ColumnMove]:
        """Return the columns of an alarm; for the prediction, also the features that moved furthest."""
        columns = [column_move(moved) for moved in alarm.moved[:NAMED]]
        return columns + self._furthest(NAMED - 1) if kind == "prediction" else columns

    def _furthest(self, count: int) -> list[ColumnMove]:
        """Return the features with the largest PSI in the last full window, drifted or not."""
        return [column_move(moved) for moved in self._features.furthest[:count] if moved.psi > 0]

    def _raise(self, found: Detection, context: SignalContext) -> DriftSignal:
        number = self._raised[found.kind] = self._raised.get(found.kind, 0) + 1
        place = context.position
        cause = (self._pipeline, found.kind, found.detector, found.severity)
        signal = DriftSignal(
            id=signal_id(*cause, "firing", place, found.since),
            pipeline=self._pipeline,
            model_version=context.version,
            detector=found.detector,
            kind=found.kind,
            level=found.level,
            severity=found.severity,
            sequence=number,
            time=context.time,
            estimate_before=found.before,
            estimate_after=found.after,
            width=found.width,
            since=found.since,
            topic=place.topic,
            partition=place.partition,
            offset=place.offset,
            columns=tuple(found.columns),
            slices=tuple(found.slices),
        )
        self._open[found.kind, found.severity] = signal
        return signal

    def _resolve(self, kind: DriftKind, context: SignalContext) -> list[DriftSignal]:
        """Resolve all open signals of this kind."""
        return [
            self._open.pop(key).resolved(context.version, context.time, context.position)
            for key in [key for key in self._open if key[0] == kind]
        ]
