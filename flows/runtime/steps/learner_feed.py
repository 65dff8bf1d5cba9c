"""Feeds the records of the learn flow to the learner, and publishes what follows from each."""

import logging
from collections.abc import Iterator

from flows.adapters.prometheus import metrics
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.label_join import Label
from flows.core.learning.candidates import CandidateIntake
from flows.core.learning.learner import DeadLabel, Learner, LearnerEvent, LearningFailure, Outlier, position
from flows.core.learning.messages import signal_record
from flows.core.models.model import Model, Prediction, Role
from flows.core.models.tasks import task_of
from flows.core.serving import prediction_message
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.errors import InvalidRecord, SnapshotError, StaleSnapshot, SupersededSnapshot
from flows.pipeline import Pipeline
from flows.runtime.steps.learner_gauges import LearnerGauges
from flows.runtime.steps.model_publisher import ModelPublisher
from flows.runtime.user_faults import FaultLog

_log = logging.getLogger("driftline.learn")


class LearnerFeed:
    """Decodes labels, predictions and candidates for the learner.

    `models_read` has the next offset of each partition of the models topic, and is updated.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        learner: Learner,
        publisher: ModelPublisher,
        candidates: CandidateIntake,
        gauges: LearnerGauges,
        models_read: dict[int, int],
    ) -> None:
        self._learner = learner
        self._publisher = publisher
        self._candidates = candidates
        self._gauges = gauges
        self._models_read = models_read
        self._task = task_of(pipeline.task)
        self._labels = pipeline.labels.decoder()
        self._target = pipeline.target
        self._labels_topic = pipeline.labels.topic
        self._predictions_topic = pipeline.topic("predictions")
        self._models_topic = pipeline.topic("models")
        self._drift_topic = pipeline.topic("drift")
        self._dead_letters = pipeline.topic("dead-letters")
        self._failed = FaultLog(_log)

    def take(self, record: Record) -> Iterator[Outgoing]:
        """Feed one record; yields signals, models whose role changed, and dead letters."""
        try:
            for event in self._learn(record):
                yield from self._outgoing(event, record)
        except InvalidRecord as fault:
            yield self._dead(record, fault.reason, str(fault))
        except SupersededSnapshot:
            pass  # a newer candidate follows on the topic
        except StaleSnapshot as fault:
            yield self._dead(record, "stale", str(fault))
        except SnapshotError as fault:
            yield self._dead(record, "signature", str(fault))

    def _learn(self, record: Record) -> Iterator[LearnerEvent]:
        if record.topic == self._labels_topic:
            event_id, at, payload = self._labels.decode(record)
            yield from self._learner.labelled(Label(event_id, at, payload[self._target], record))
        elif record.topic == self._predictions_topic:
            yield from self._learner.predicted(self._served(record), position(record))
        elif record.topic == self._models_topic:
            self._models_read[record.partition] = record.offset + 1
            if dict(record.headers).get("role") == b"candidate":
                yield from self._candidates.take(record, self._learner)

    def _served(self, record: Record) -> Prediction:
        """Return the prediction; raises `InvalidRecord` if its scores do not fit the task."""
        prediction = prediction_message.decode(record)
        if not all(map(self._task.serves, (prediction.score, *prediction.shadows.values()))):
            raise InvalidRecord("schema", f"its scores are not those of task {self._task.name!r}")
        return prediction

    def _outgoing(self, event: LearnerEvent, record: Record) -> Iterator[Outgoing]:
        if isinstance(event, DriftSignal):
            if event.status == "firing":
                metrics.DRIFT_SIGNALS.labels(event.kind, event.detector, event.severity).inc()
            yield signal_record(self._drift_topic, event)
        elif isinstance(event, DeadLabel):
            self._log_fault(event.error)
            yield self._dead(event.record, event.reason, event.detail)
        elif isinstance(event, LearningFailure):
            self._log_fault(event.error)
            yield self._dead(record, "model", event.detail)
        elif isinstance(event, Outlier):
            self._gauges.show_outlier(event)
        else:
            yield self._model(event.role, event.model)

    def _model(self, role: Role, model: Model) -> Outgoing:
        lineage = self._learner.lineage.get(model.version, {})
        return self._publisher.record(role, model, self._learner.learned_until, lineage)

    def _log_fault(self, error: Exception | None) -> None:
        if error is not None:
            self._failed(error)

    def _dead(self, record: Record, reason: str, detail: str) -> Outgoing:
        return dead_letter(self._dead_letters, record, reason, detail)
