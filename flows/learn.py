"""The learn flow: predictions and labels in; models, metrics, drift signals and dead letters out.

    predictions ─┐
    labels ──────┼──> by_model ──> learn ──────────────────────────────> publish
    candidates ──┘                (join, evaluate, detect, learn, settle)

All learning state of a pipeline is one key, so that what was joined, learned, measured and detected moves in
one snapshot with the offsets. Run it with `driftline run learn`, or with `python -m bytewax.run flows.learn`.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow

from flows.adapters.bytewax.stateful import timed_stateful
from flows.adapters.prometheus import metrics as telemetry
from flows.core.drift.signal import CONTENT_TYPE, DriftSignal
from flows.core.evaluation.label_join import Label
from flows.core.learning.learner import (
    DeadLabel,
    Learner,
    LearnerEvent,
    LearningFailure,
    Outlier,
    RoleChange,
    position,
)
from flows.core.models.model import Model, ModelMessage, Prediction, Role
from flows.core.models.tasks import task_of
from flows.core.serving import prediction_message as predictions
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.core.stream.times import iso
from flows.errors import InvalidRecord, SnapshotError, StaleSnapshot, StoreError, SupersededSnapshot
from flows.runtime.engine import Engine, drain_on_signals, engine
from flows.runtime.model_publisher import ModelPublisher, newest_sequence
from flows.runtime.user_faults import FaultLog

OUTPUTS = ("models", "metrics", "drift", "dead-letters")

_Stored = tuple[Learner, int, int, int, int, int, dict[int, int]]

_MEASURE_EVERY = 0.5  # seconds between metrics, which cost more than a model
_ASSESS_EVERY = 5.0  # seconds between assessments, which take a tenth of a second

_TREATED = {"skip": "the event is not learned", "clip": "it is learned as the end of the range"}

_log = logging.getLogger("driftline.learn")


def flow() -> Dataflow:
    """The dataflow of the project in the working directory, for `python -m bytewax.run flows.learn`."""
    running = engine()
    drain_on_signals(running)
    return build(running)


def build(running: Engine) -> Dataflow:
    """The dataflow of one pipeline."""
    pipeline = running.pipeline
    topics = [pipeline.labels.topic, pipeline.topic("predictions")]

    dataflow = Dataflow("learn")
    source = running.source("learn", [pipeline.topic("models"), *topics])
    records = op.input("records", dataflow, source)
    learned = timed_stateful("learn", records, lambda state: _Learn(running, state))
    op.output("publish", learned, running.sink(OUTPUTS))
    return dataflow


class _Learn:
    """The one key: drives the learner, and says on the topics what happened."""

    def __init__(self, running: Engine, state: bytes | None) -> None:
        pipeline = running.pipeline
        self._pipeline = pipeline
        self._sealer = running.sealer()
        self._drain = running.drain
        self._labels = pipeline.labels.decoder()
        self._task = task_of(pipeline.task)
        self._models_topic = pipeline.topic("models")
        # how many steps of the learner the last models, and labels the last metrics and the last assessment,
        # on the topics know of; the sequences of the last model and candidate; how far the models were read
        fresh: _Stored = (running.learner(running.plan()), 0, 0, 0, 0, 0, {})
        stored: _Stored = self._sealer.open_state(state) if state else fresh
        self._learner, self._published, self._measured, self._assessed = stored[:4]
        sequence, self._candidate, self._models_read = stored[4:]
        self._learner.redeclare(pipeline.max_pending, pipeline.outliers)
        with closing(running.open_broker()) as broker:
            written = newest_sequence(broker, self._models_topic, self._sealer, self._models_read)
        self._publisher = ModelPublisher(
            pipeline.name,
            self._models_topic,
            self._sealer,
            max(sequence, written),
            running.settings.model_seconds,
        )
        self._evicted = self._learner.evicted  # as the metrics know
        self._warned = False
        self._outlying: set[str] = set()  # features that an outlier was logged of
        self._failed = FaultLog(_log)
        self._publish_at = self._measure_at = self._assess_at = 0.0

    def take(self, values: list[list[Record]]) -> Iterable[list[Outgoing]]:
        out: list[Outgoing] = []
        with telemetry.STAGE.labels("learn").time():
            for records in values:
                for record in records:
                    out += self._take(record)
        self._show_pending()
        now = time.monotonic()
        if now >= self._publish_at:
            out += self._models()
        if now >= self._measure_at:
            out += self._metrics()
        if now >= self._assess_at:
            out += self._assessment()
        return [out]

    def due(self) -> datetime | None:
        labels = self._learner.evaluation.labels
        moments = []
        if (self._published, self._measured) != (self._learner.steps, labels):
            moments.append(self._publish_at)
        if self._assessed != labels:
            moments.append(self._assess_at)
        if not moments:
            return None
        return datetime.now(UTC) + timedelta(seconds=max(0.0, min(moments) - time.monotonic()))

    def wake(self) -> Iterable[list[Outgoing]]:
        now, last = time.monotonic(), self._drain.is_set()
        out = self._models() if last or now >= self._publish_at else []
        out += self._metrics()
        if last or now >= self._assess_at:
            out += self._assessment()
        return [out]

    def snapshot(self) -> bytes:
        known = (self._published, self._measured, self._assessed, self._publisher.sequence, self._candidate)
        return self._sealer.seal_state((self._learner, *known, self._models_read))

    def _take(self, record: Record) -> Iterator[Outgoing]:
        try:
            for happening in self._learn(record):
                yield from self._outgoing(happening, record)
        except InvalidRecord as fault:
            yield self._dead(record, fault.reason, str(fault))
        except SupersededSnapshot:
            pass  # a newer candidate follows on the topic
        except StaleSnapshot as fault:
            yield self._dead(record, "stale", str(fault))
        except SnapshotError as fault:
            yield self._dead(record, "signature", str(fault))

    def _learn(self, record: Record) -> Iterator[LearnerEvent]:
        if record.topic == self._pipeline.labels.topic:
            event_id, at, payload = self._labels.decode(record)
            yield from self._learner.labelled(Label(event_id, at, payload[self._pipeline.target], record))
        elif record.topic == self._pipeline.topic("predictions"):
            yield from self._learner.predicted(self._served(record), position(record))
        elif record.topic == self._models_topic:
            self._models_read[record.partition] = record.offset + 1
            if dict(record.headers).get("role") == b"candidate":
                yield from self._take_candidate(record)

    def _take_candidate(self, record: Record) -> Iterator[LearnerEvent]:
        """Let a candidate of the retrain flow become the challenger, and announce it as such.

        Raises `StaleSnapshot` for one that must not come, such as an old one that was sent again.
        """
        announced, learner = self._sealer.announced(record), self._learner
        expected = (self._pipeline.name, self._task.name, "candidate")
        if (announced.pipeline, announced.task, announced.role) != expected:
            raise StaleSnapshot(
                f"a candidate must be one of pipeline {expected[0]!r} and task {expected[1]!r}, got "
                f"{announced.role} of {announced.pipeline!r} and {announced.task!r}; it was not taken"
            )
        if announced.version in learner.lineage:  # it was taken before
            return
        if announced.sequence <= self._candidate:
            raise StaleSnapshot(
                f"a candidate must answer a drift signal after number {self._candidate}, got one for "
                f"{announced.sequence}; it was not taken"
            )
        message = ModelMessage(
            announced.pipeline,
            "challenger",
            announced.time,
            self._sealer.load(announced),
            announced.lineage,
            announced.sequence,
        )
        yield from learner.challenged(message)
        self._candidate = announced.sequence
        yield RoleChange("challenger", message.model)

    def _served(self, record: Record) -> Prediction:
        prediction = predictions.decode(record)
        if not all(map(self._task.serves, (prediction.score, *prediction.shadows.values()))):
            raise InvalidRecord("schema", f"its scores are not those of task {self._task.name!r}")
        return prediction

    def _outgoing(self, happening: LearnerEvent, record: Record) -> Iterator[Outgoing]:
        if isinstance(happening, DriftSignal):
            yield self._signal(happening)
        elif isinstance(happening, DeadLabel):
            self._show_fault(happening.error)
            yield self._dead(happening.record, happening.reason, happening.detail)
        elif isinstance(happening, LearningFailure):
            self._show_fault(happening.error)
            yield self._dead(record, "model", happening.detail)
        elif isinstance(happening, Outlier):
            self._show_outlier(happening)
        else:
            yield self._model(happening.role, happening.model)

    def _show_fault(self, error: Exception | None) -> None:
        if error is not None:
            self._failed(error)

    def _show_pending(self) -> None:
        """Also while no label comes at all, which is when they become many."""
        learner = self._learner
        telemetry.PENDING_LABELS.set(learner.pending)
        telemetry.PENDING_EVICTED.inc(learner.evicted - self._evicted)
        if learner.evicted > self._evicted and not self._warned:
            self._warned = True
            _log.warning(
                "more than max_pending = %d predictions wait for their label: the oldest are forgotten before"
                " their label wait is over. Do labels come? Then raise max_pending, or shorten label_wait",
                self._pipeline.max_pending,
            )
        self._evicted = learner.evicted

    def _show_outlier(self, outlier: Outlier) -> None:
        """Count it, and log the first of each feature."""
        for name, found in outlier.outside.items():
            telemetry.OUTLIERS.labels(name).inc()
            if name not in self._outlying:
                self._outlying.add(name)
                _log.warning(
                    "event %r: %s is %g, far outside the range %g to %g of what was learned; %s "
                    "(outliers=%r); further ones of it are counted only",
                    outlier.id,
                    name,
                    found.value,
                    found.low,
                    found.high,
                    _TREATED[self._pipeline.outliers],
                    self._pipeline.outliers,
                )

    def _signal(self, signal: DriftSignal) -> Outgoing:
        if signal.status == "firing":
            telemetry.DRIFT_SIGNALS.labels(signal.kind, signal.detector, signal.severity).inc()
        identity = signal.id.encode()
        headers = (("id", identity), ("content-type", CONTENT_TYPE.encode()))
        topic = self._pipeline.topic("drift")
        return Outgoing(topic, signal.to_json(), identity, timestamp=signal.time, headers=headers)

    def _models(self) -> list[Outgoing]:
        """Return the models' records, if they have learned anything since they were last published.

        What is learned after a pause longer than the interval is published at once. If a large model cannot
        be stored, it is tried again later; the predictors keep the one they have.
        """
        learner = self._learner
        if self._published == learner.steps:
            return []
        models: dict[Role, Model] = {"champion": learner.champion}
        if learner.challenger is not None:
            models["challenger"] = learner.challenger
        records: list[Outgoing] = []
        try:
            records = self._publisher.publication(models, learner.learned_until, learner.lineage)
            self._published = learner.steps
        except StoreError as error:
            _log.warning("the models are published later: %s", error)
        self._publish_at = time.monotonic() + self._publisher.pause
        return records

    def _model(self, role: Role, model: Model) -> Outgoing:
        learner = self._learner
        lineage = learner.lineage.get(model.version, {})
        return self._publisher.record(role, model, learner.learned_until, lineage)

    def _metrics(self) -> list[Outgoing]:
        """The metrics, if a label has come since they were last published."""
        self._measure_at = time.monotonic() + _MEASURE_EVERY
        learner = self._learner
        if self._measured == learner.evaluation.labels:
            return []
        telemetry.LABELS_JOINED.inc(learner.evaluation.labels - self._measured)
        self._measured = learner.evaluation.labels
        measured = self._measurements()
        show(learner, measured["metrics"])
        return [self._measured_record("metrics", measured)]

    def _assessment(self) -> list[Outgoing]:
        """The metrics once more, with all else that is known of the scores, if a label has come since.

        It follows the plain metrics of the same labels, so that it is the last word on them also where a
        crash comes between.
        """
        self._assess_at = time.monotonic() + _ASSESS_EVERY
        evaluation = self._learner.evaluation
        if self._assessed == evaluation.labels:
            return []
        out = self._metrics()
        self._assessed = evaluation.labels
        assessment = evaluation.assessment()
        telemetry.assessed(assessment)
        return [
            *out,
            self._measured_record("assessment", {**self._measurements(), "assessment": assessment}),
        ]

    def _measurements(self) -> dict[str, Any]:
        learner = self._learner
        return {
            "pipeline": self._pipeline.name,
            "time": iso(learner.learned_until),
            "model": learner.champion.version,
            "labels": learner.evaluation.labels,
            "pending": learner.pending,
            "expired": learner.expired,
            "assumed": learner.assumed,
            "outliers": learner.outliers.rows,
            "metrics": learner.evaluation.values(),
        }

    def _measured_record(self, kind: str, body: Mapping[str, Any]) -> Outgoing:
        learner = self._learner
        headers = (("id", f"{kind}:{learner.evaluation.labels}".encode()),)
        topic = self._pipeline.topic("metrics")
        return Outgoing(topic, orjson.dumps(body), timestamp=learner.learned_until, headers=headers)

    def _dead(self, record: Record, reason: str, detail: str) -> Outgoing:
        return dead_letter(self._pipeline.topic("dead-letters"), record, reason, detail)


def show(learner: Learner, values: Mapping[str, Mapping[str, float]]) -> None:
    """Set the gauges that tell how the learner stands; `values` are its metrics by predictor."""
    telemetry.MODEL_LABELS.set(learner.champion.learned)
    challenger = {} if learner.challenger is None else {learner.challenger.version: "challenger"}
    telemetry.models_in_service({learner.champion.version: "champion", **challenger})
    telemetry.snapshot_taken()
    for predictor, metrics in values.items():
        for name, value in metrics.items():
            telemetry.METRIC.labels(name, predictor).set(value)
