"""Feeds the records of the learn flow to the learner, and publishes what follows from each."""

import logging
from collections.abc import Sequence

from flows.adapters.prometheus import metrics
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.label_join import Label, read_labels
from flows.core.learning.candidates.intake import CandidateIntake
from flows.core.learning.events import (
    ContestWon,
    DeadLabel,
    FreezeChange,
    LearnerEvent,
    Outlier,
    RoleChange,
)
from flows.core.learning.learner import Learner, position
from flows.core.learning.messages import signal_record
from flows.core.models.model import Model, Prediction, Role
from flows.core.models.tasks import task_of
from flows.core.registry.ledger import Author
from flows.core.serving import prediction_message
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.errors import (
    DriftlineError,
    InvalidRecord,
    RegistryError,
    SnapshotError,
    StaleSnapshot,
    SupersededSnapshot,
)
from flows.pipeline import Pipeline
from flows.runtime.steps.learner_gauges import LearnerGauges
from flows.runtime.steps.model_publisher import ModelPublisher
from flows.runtime.steps.registrar import ENGINE, Obeyed, Registrar
from flows.runtime.user_faults import FaultLog

_CHUNK = 250  # records that are decoded and learned together: few enough for the processor's cache

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
        registrar: Registrar,
        models_read: dict[int, int],
    ) -> None:
        self._learner = learner
        self._publisher = publisher
        self._candidates = candidates
        self._gauges = gauges
        self._registrar = registrar
        self._models_read = models_read
        self._task = task_of(pipeline.task)
        self._label_topic = pipeline.labels.topic
        self._labels = pipeline.labels.decoder()
        self._target = pipeline.target
        self._prediction_topic = pipeline.topic("predictions")
        self._models_topic = pipeline.topic("models")
        self._commands_topic = pipeline.topic("commands")
        self._drift_topic = pipeline.topic("drift")
        self._dead_letters = pipeline.topic("dead-letters")
        self._failed = FaultLog(_log)
        self._retired: list[Model] = []  # and not published

    def take(self, records: Sequence[Record]) -> list[Outgoing]:
        """Feed the records in order; return signals, models whose role changed, and dead letters."""
        out: list[Outgoing] = []
        for start in range(0, len(records), _CHUNK):
            self._take_chunk(records[start : start + _CHUNK], out)
        return out

    def _take_chunk(self, records: Sequence[Record], out: list[Outgoing]) -> None:
        labels = iter(read_labels(_of(self._label_topic, records), self._labels, self._target))
        predictions = iter(prediction_message.decode_batch(_of(self._prediction_topic, records)))
        label_topic, prediction_topic = self._label_topic, self._prediction_topic
        learner, registrar = self._learner, self._registrar
        events: list[LearnerEvent] = []
        for record in records:
            try:
                if learner.steps >= registrar.wakes_at:
                    out += self._registered(record)
                topic = record[0]
                if topic == label_topic:
                    self._label(next(labels), events)
                elif topic == prediction_topic:
                    self._prediction(next(predictions), record, events)
                elif topic == self._models_topic:
                    self._snapshot(record, records, out)
                elif topic == self._commands_topic:
                    out += self._obeyed(self._registrar.obey(record), record)
                if events:
                    self._answer(events, record, out)
            except InvalidRecord as fault:
                out.append(self._dead(record, fault.reason, str(fault)))
            except (SnapshotError, RegistryError) as fault:
                out += self._refused(record, fault)
        self._learner.learn(events)
        self._answer(events, records[-1], out)  # a failure to learn names its own record
        self._admit(records, out)

    def _admit(self, records: Sequence[Record], out: list[Outgoing]) -> None:
        """Make challengers of the candidates that the learner can take when it has read these records."""
        self._candidates.advance(records)
        while (record := self._candidates.next_ready()) is not None:
            try:
                self._answer(self._candidates.admit(record, self._learner), record, out)
            except SnapshotError as fault:
                out += self._refused(record, fault)

    def _refused(self, record: Record, fault: DriftlineError) -> list[Outgoing]:
        """Return the dead letter of a candidate or a command; none if a newer candidate follows."""
        if isinstance(fault, SupersededSnapshot):
            return []
        return [self._dead(record, "stale" if isinstance(fault, StaleSnapshot) else "signature", str(fault))]

    def _answer(self, events: list[LearnerEvent], record: Record, out: list[Outgoing]) -> None:
        """Publish what follows from the events of a record, and clear them."""
        for event in events:
            out += self._outgoing(event, record)
        events.clear()

    def _label(self, label: Label | InvalidRecord, events: list[LearnerEvent]) -> None:
        if isinstance(label, InvalidRecord):
            raise label
        self._learner.add_label(label, events)

    def _prediction(
        self, prediction: Prediction | InvalidRecord, record: Record, events: list[LearnerEvent]
    ) -> None:
        """Feed a prediction; raises `InvalidRecord` if its scores do not fit the task."""
        if isinstance(prediction, InvalidRecord):
            raise prediction
        serves, shadows = self._task.serves, prediction.shadows
        if not serves(prediction.score) or (shadows and not all(map(serves, shadows.values()))):
            raise InvalidRecord("schema", f"its scores are not those of task {self._task.name!r}")
        self._learner.add_prediction(prediction, position(record), events)

    def _snapshot(self, record: Record, records: Sequence[Record], out: list[Outgoing]) -> None:
        self._models_read[record.partition] = record.offset + 1
        if ("role", b"candidate") in record.headers:  # the learner's own snapshots are on the topic too
            self._candidates.take(record, self._learner)
            self._admit(records[: records.index(record)], out)

    def _obeyed(self, obeyed: Obeyed, record: Record) -> list[Outgoing]:
        """Return what follows from a command."""
        out = [*obeyed.entries]
        for event in obeyed.events:
            out += self._outgoing(event, record, obeyed.author)
        return out

    def _registered(self, record: Record) -> list[Outgoing]:
        """Return the entries of the registry that are due; a checkpoint has all that was labelled."""
        events: list[LearnerEvent] = []
        self._learner.learn(events)
        out: list[Outgoing] = []
        self._answer(events, record, out)
        return out + self._registrar.due()

    def _outgoing(self, event: LearnerEvent, record: Record, author: Author = ENGINE) -> list[Outgoing]:
        if isinstance(event, Outlier):
            self._gauges.show_outlier(event)
            return []
        if isinstance(event, DriftSignal):
            metrics.drift_changed(event)
            return [signal_record(self._drift_topic, event)]
        if isinstance(event, RoleChange):
            return self._changed_role(event, author)
        if isinstance(event, ContestWon | FreezeChange):
            return self._registrar.enter(event, author)
        if event.error is not None:
            self._failed(event.error)
        if isinstance(event, DeadLabel):
            return [self._dead(event.record, event.reason, event.detail)]
        return [self._dead(record, "model", event.detail)]

    def _changed_role(self, event: RoleChange, author: Author) -> list[Outgoing]:
        """Publish a model with its new role; not what was published before a crash, and may be over."""
        entries = self._registrar.enter(event, author)
        if not self._registrar.is_behind:
            return [self._model(event.role, event.model), *entries]
        if event.role == "retired":
            self._retired.append(event.model)
        return entries

    def retired(self) -> list[Outgoing]:
        """Return the models that were retired while the learner was behind the registry, once."""
        retired, self._retired = self._retired, []
        return [self._model("retired", model) for model in retired]

    def _model(self, role: Role, model: Model) -> Outgoing:
        lineage = self._learner.lineage.get(model.version, {})
        share = self._learner.roles.shares.get(model.version, 0.0)
        return self._publisher.record(role, model, self._learner.learned_until, lineage, share)

    def _dead(self, record: Record, reason: str, detail: str) -> Outgoing:
        return dead_letter(self._dead_letters, record, reason, detail)


def _of(topic: str, records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record[0] == topic]
