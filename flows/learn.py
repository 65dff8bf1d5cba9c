"""The learn flow: predictions and labels in; models, metrics, drift signals and dead letters out.

    predictions ─┐
    labels ──────┼──> by_model ──> learn ──────────────────────────────> publish
    challengers ─┘                (join, evaluate, detect, learn, settle)

All learning state of a pipeline is one key, so that what was joined, learned, measured and detected moves in
one snapshot with the offsets. Run it with `driftline run learn`, or with `python -m bytewax.run flows.learn`.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow

from flows.adapters import telemetry
from flows.adapters.stateful import timed_stateful
from flows.core import predictions
from flows.core.broker import Outgoing, Record
from flows.core.cloudevents import CONTENT_TYPE, DriftSignal
from flows.core.deadletter import dead_letter
from flows.core.labels import Label
from flows.core.learner import DeadLabel, Happening, Learner, Unlearned, position
from flows.core.models import Model, ModelMessage, Prediction, Role
from flows.core.schema import iso
from flows.core.tasks import task_of
from flows.errors import InvalidRecord, SnapshotError
from flows.user_faults import FaultLog
from flows.wiring import Engine, drain_on_signals, engine

OUTPUTS = ("models", "metrics", "drift", "dead-letters")

_MEASURE_EVERY = 0.5  # seconds between metrics, which cost more than a model
_ASSESS_EVERY = 5.0  # seconds between assessments, which take a tenth of a second

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
    # One slot, so that no partition runs ahead of the others in event time: its time would end their waiting.
    source = running.source("learn", [pipeline.topic("models"), *topics], slots=1)
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
        self._interval = running.settings.model_seconds
        self._labels = pipeline.labels.decoder()
        self._task = task_of(pipeline.task)
        fresh = (running.learner(running.plan()), 0, 0, 0)
        stored: tuple[Learner, int, int, int] = self._sealer.open_state(state) if state else fresh
        # how many steps of the learner the last models, and labels the last metrics and the last assessment,
        # on the topics know of
        self._learner, self._published, self._measured, self._assessed = stored
        self._learner.limit_pending(pipeline.max_pending)
        self._evicted = self._learner.evicted  # as the metrics know
        self._warned = False
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
        out = self._models() + self._metrics()
        if self._drain.is_set() or time.monotonic() >= self._assess_at:
            out += self._assessment()
        return [out]

    def snapshot(self) -> bytes:
        return self._sealer.seal_state((self._learner, self._published, self._measured, self._assessed))

    def _take(self, record: Record) -> Iterator[Outgoing]:
        try:
            for happening in self._learn(record):
                yield from self._outgoing(happening, record)
        except InvalidRecord as fault:
            yield self._dead(record, fault.reason, str(fault))
        except SnapshotError as fault:
            yield self._dead(record, "signature", str(fault))

    def _learn(self, record: Record) -> Iterator[Happening]:
        if record.topic == self._pipeline.labels.topic:
            event_id, at, payload = self._labels.decode(record)
            yield from self._learner.labelled(Label(event_id, at, payload[self._pipeline.target], record))
        elif record.topic == self._pipeline.topic("predictions"):
            yield from self._learner.predicted(self._served(record), position(record))
        elif dict(record.headers).get("role") == b"challenger":
            yield from self._learner.challenged(self._sealer.read(record))

    def _served(self, record: Record) -> Prediction:
        prediction = predictions.decode(record)
        if not all(map(self._task.serves, (prediction.score, *prediction.shadows.values()))):
            raise InvalidRecord("schema", f"its scores are not those of task {self._task.name!r}")
        return prediction

    def _outgoing(self, happening: Happening, record: Record) -> Iterator[Outgoing]:
        if isinstance(happening, DriftSignal):
            yield self._signal(happening)
        elif isinstance(happening, DeadLabel):
            self._show_fault(happening.error)
            yield self._dead(happening.record, happening.reason, happening.detail)
        elif isinstance(happening, Unlearned):
            self._show_fault(happening.error)
            yield self._dead(record, "model", happening.detail)
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

    def _signal(self, signal: DriftSignal) -> Outgoing:
        if signal.status == "firing":
            telemetry.DRIFT_SIGNALS.labels(signal.kind, signal.detector, signal.severity).inc()
        identity = signal.id.encode()
        headers = (("id", identity), ("content-type", CONTENT_TYPE.encode()))
        topic = self._pipeline.topic("drift")
        return Outgoing(topic, signal.to_json(), identity, timestamp=signal.time, headers=headers)

    def _models(self) -> list[Outgoing]:
        """The models, if they have learned anything since they were last published.

        What is learned after a pause longer than the interval is published at once.
        """
        learner = self._learner
        if self._published == learner.steps:
            return []
        self._publish_at = time.monotonic() + self._interval
        self._published = learner.steps
        models = [self._model("champion", learner.champion)]
        if learner.challenger is not None:
            models.append(self._model("challenger", learner.challenger))
        return models

    def _model(self, role: Role, model: Model) -> Outgoing:
        learner = self._learner
        lineage = learner.lineage.get(model.version, {})
        message = ModelMessage(self._pipeline.name, role, learner.learned_until, model, lineage)
        identity = f"{model.version}:{role}:{model.learned}"
        return self._sealer.record(self._pipeline.topic("models"), message, identity)

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
