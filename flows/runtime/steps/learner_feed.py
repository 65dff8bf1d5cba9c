"""Feeds the records of the learn flow to the learner, and publishes what follows from each."""

import logging
from collections.abc import Callable, Sequence

from flows.adapters.prometheus import metrics
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.label_join import Label, read_labels
from flows.core.learning.candidates import CandidateIntake
from flows.core.learning.learner import DeadLabel, Learner, LearnerEvent, Outlier, RoleChange, position
from flows.core.learning.messages import signal_record
from flows.core.models.model import Model, Role
from flows.core.models.tasks import task_of
from flows.core.serving import prediction_message
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.errors import InvalidRecord, SnapshotError, StaleSnapshot, SupersededSnapshot
from flows.pipeline import Pipeline
from flows.runtime.steps.learner_gauges import LearnerGauges
from flows.runtime.steps.model_publisher import ModelPublisher
from flows.runtime.user_faults import FaultLog

_CHUNK = 250  # records whose labels are decoded together: few enough for the processor's cache

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
        self._label_topic = pipeline.labels.topic
        self._labels = pipeline.labels.decoder()
        self._target = pipeline.target
        self._feeds: dict[str, Callable[[Record], list[LearnerEvent]]] = {
            pipeline.topic("predictions"): self._prediction,
            pipeline.topic("models"): self._snapshot,
        }
        self._drift_topic = pipeline.topic("drift")
        self._dead_letters = pipeline.topic("dead-letters")
        self._failed = FaultLog(_log)

    def take(self, records: Sequence[Record]) -> list[Outgoing]:
        """Feed the records in order; return signals, models whose role changed, and dead letters."""
        out: list[Outgoing] = []
        for start in range(0, len(records), _CHUNK):
            self._take_chunk(records[start : start + _CHUNK], out)
        return out

    def _take_chunk(self, records: Sequence[Record], out: list[Outgoing]) -> None:
        topic = self._label_topic
        labels = iter(read_labels([each for each in records if each[0] == topic], self._labels, self._target))
        for record in records:
            try:
                events = self._label(next(labels)) if record[0] == topic else self._other(record)
                for event in events:
                    out += self._outgoing(event, record)
            except InvalidRecord as fault:
                out.append(self._dead(record, fault.reason, str(fault)))
            except SupersededSnapshot:
                pass  # a newer candidate follows on the topic
            except StaleSnapshot as fault:
                out.append(self._dead(record, "stale", str(fault)))
            except SnapshotError as fault:
                out.append(self._dead(record, "signature", str(fault)))

    def _label(self, label: Label | InvalidRecord) -> list[LearnerEvent]:
        if isinstance(label, InvalidRecord):
            raise label
        return self._learner.labelled(label)

    def _other(self, record: Record) -> list[LearnerEvent]:
        feed = self._feeds.get(record[0])
        return [] if feed is None else feed(record)

    def _prediction(self, record: Record) -> list[LearnerEvent]:
        """Feed a prediction; raises `InvalidRecord` if its scores do not fit the task."""
        prediction = prediction_message.decode(record)
        serves, shadows = self._task.serves, prediction.shadows
        if not serves(prediction.score) or (shadows and not all(map(serves, shadows.values()))):
            raise InvalidRecord("schema", f"its scores are not those of task {self._task.name!r}")
        return self._learner.predicted(prediction, position(record))

    def _snapshot(self, record: Record) -> list[LearnerEvent]:
        self._models_read[record.partition] = record.offset + 1
        if ("role", b"candidate") not in record.headers:
            return []  # the learner's own snapshots are on the topic too
        return self._candidates.take(record, self._learner)

    def _outgoing(self, event: LearnerEvent, record: Record) -> list[Outgoing]:
        if isinstance(event, Outlier):
            self._gauges.show_outlier(event)
            return []
        if isinstance(event, DriftSignal):
            if event.status == "firing":
                metrics.DRIFT_SIGNALS.labels(event.kind, event.detector, event.severity).inc()
            return [signal_record(self._drift_topic, event)]
        if isinstance(event, RoleChange):
            return [self._model(event.role, event.model)]
        if event.error is not None:
            self._failed(event.error)
        if isinstance(event, DeadLabel):
            return [self._dead(event.record, event.reason, event.detail)]
        return [self._dead(record, "model", event.detail)]

    def _model(self, role: Role, model: Model) -> Outgoing:
        lineage = self._learner.lineage.get(model.version, {})
        return self._publisher.record(role, model, self._learner.learned_until, lineage)

    def _dead(self, record: Record, reason: str, detail: str) -> Outgoing:
        return dead_letter(self._dead_letters, record, reason, detail)
