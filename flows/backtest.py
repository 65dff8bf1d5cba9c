"""The backtest: the engine's core driven in event-time order, without a broker and without delay.

It runs the code of the predict and the learn flow on a data set: every event is scored with all labels that
were known at its time, each label is learned once. So it says what the model is worth when nothing is late;
the flows' own figures can only differ by the time a model needs from the learner to the predictor.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from flows.core.broker import Outgoing, Record
from flows.core.cloudevents import DriftSignal
from flows.core.decode import Decoder
from flows.core.features import Assembler, EntityFeatures, EntityKey, Question, Splitter
from flows.core.intake import Intake
from flows.core.labels import Label
from flows.core.learner import DeadLabel, Happening, Learner
from flows.core.models import Prediction
from flows.core.plan import FeaturePlan
from flows.core.transforms import Transformer
from flows.core.windows import Value
from flows.errors import InvalidRecord
from flows.pipeline import Pipeline

_BATCH = 2000


class Progress(NamedTuple):
    """What a batch of the backtest brought."""

    records: int
    events: int
    dead_letters: int
    signals: list[DriftSignal]


def questions(pipeline: Pipeline, records: Iterable[Outgoing]) -> Iterator[Question]:
    """The valid events of a data set."""
    events = pipeline.events
    decoder = Decoder(events.id, events.time, events.fields)
    for record in records:
        if record.topic == events.topic:
            with suppress(InvalidRecord):
                event_id, time, payload = decoder.decode(_in_log(record, 0))
                yield Question(event_id, time, payload)


class Backtest:
    """Runs `records`, which are in event-time order, through the core of `pipeline`.

    `looked_up` has what the plan's batch views give, by id and time (ms) of the events.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        plan: FeaturePlan,
        learner: Learner,
        transformer: Transformer,
        looked_up: Mapping[tuple[str, int], list[Value]] = MappingProxyType({}),
    ) -> None:
        self.learner = learner
        self.served: dict[str, float] = {}
        self._pipeline = pipeline
        self._plan = plan
        self._names = (*pipeline.inputs, *plan.names)
        streams = (*pipeline.sources, pipeline.events)
        decoders = {stream.topic: Decoder(stream.id, stream.time, stream.fields) for stream in streams}
        self._intake = Intake(
            decoders, pipeline.events.topic, "", "dead-letters", plan.streams, plan.lateness
        )
        labels = pipeline.labels
        self._labels = Decoder(labels.id, labels.time, labels.fields)
        self._splitter = Splitter(plan)
        self._assembler = Assembler(plan)
        self._transformer = transformer
        self._looked_up = looked_up
        self._entities: dict[EntityKey, EntityFeatures] = {}
        self._offset = 0

    def run(self, records: Iterable[Outgoing]) -> Iterator[Progress]:
        """Drive the core; yields after each batch."""
        iterator = iter(records)
        while batch := list(islice(iterator, _BATCH)):
            yield self._batch([_in_log(record, self._offset + n) for n, record in enumerate(batch, 1)])
            self._offset += len(batch)

    def _batch(self, records: Sequence[Record]) -> Progress:
        labels = self._pipeline.labels.topic
        questions, dead = self._questions([record for record in records if record.topic != labels])
        happenings: list[Happening] = []
        for record in records:
            if record.topic == labels:
                happenings += self._learn(record)
            elif question := questions.get(record.offset):
                happenings += self._predict(record, *question)
        dead += sum(isinstance(happening, DeadLabel) for happening in happenings)
        signals = [happening for happening in happenings if isinstance(happening, DriftSignal)]
        return Progress(len(records), len(questions), dead, signals)

    def _questions(self, records: Sequence[Record]) -> tuple[dict[int, tuple[Question, list[Value]]], int]:
        """The questions of a batch with their vectors, by offset, and how many records were no good."""
        batch = self._intake.take(records)
        items = [item for item in batch.items if not isinstance(item, Record)]
        parts = [self._entity(key).run(steps) for key, steps in self._splitter.split(items).items()]
        vectors = self._assembler.assemble(len(batch.records), parts)
        questions = [item for item in items if isinstance(item, Question)]
        if self._plan.lookups:
            for question, vector in zip(questions, vectors, strict=True):
                vector += self._looked_up[question.id, question.time]
        faults = self._transformer.extend(questions, vectors)
        rows = enumerate(zip(batch.records, questions, vectors, strict=True))
        good = {
            record.offset: (question, vector) for row, (record, question, vector) in rows if row not in faults
        }
        return good, len(batch.dead) + len(faults)

    def _entity(self, key: EntityKey) -> EntityFeatures:
        features = self._entities.get(key)
        if features is None:
            views = self._plan.views_of(key.entity)
            features = self._entities[key] = EntityFeatures(key, views, self._plan.lateness)
        return features

    def _predict(self, record: Record, question: Question, vector: list[Value]) -> Iterator[Happening]:
        served = [*[question.payload.get(name) for name in self._pipeline.inputs], *vector]
        champion = self.learner.champion
        try:
            score = champion.score(dict(zip(self._names, served, strict=True)))
        except Exception as fault:  # as in the predictor
            yield DeadLabel(record, "model", f"{type(fault).__name__}: {fault}")
            return
        self.served[question.id] = score
        prediction = Prediction(question.id, question.time, score, champion.version, {}, served)
        yield from self.learner.predicted(prediction)

    def _learn(self, record: Record) -> Iterator[Happening]:
        try:
            event_id, time, payload = self._labels.decode(record)
        except InvalidRecord as fault:
            yield DeadLabel(record, fault.reason, str(fault))
        else:
            yield from self.learner.labelled(Label(event_id, time, payload[self._pipeline.target], record))


def _in_log(record: Outgoing, offset: int) -> Record:
    return Record(record.topic, 0, offset, record.timestamp or 0, record.key, record.value, record.headers)
