"""The backtest: the engine's core driven in event-time order, without a broker and without delay.

It runs the code of the predict and the learn flow on a data set: every event is scored with all labels that
were known at its time, each label is learned once. So it says what the model is worth when nothing is late;
the flows' own figures can only differ by the time a model needs from the learner to the predictor.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from flows.core.drift.features import ComparedWindow
from flows.core.drift.levels import Position
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.label_join import Label
from flows.core.features.batch import Question
from flows.core.features.engine import FeatureEngine, FeatureVector
from flows.core.features.plan import FeaturePlan
from flows.core.features.transforms import Transformer
from flows.core.features.windows.sliding import Value
from flows.core.learning.learner import DeadLabel, Learner, LearnerEvent, LearningFailure
from flows.core.models.baselines import Score
from flows.core.models.model import Prediction
from flows.core.serving.predictor import detail_of
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_tally import Dead, dead_of
from flows.core.stream.fields import KeyKind
from flows.errors import InvalidRecord
from flows.pipeline import Pipeline

BATCH = 2000  # records


class Progress(NamedTuple):
    """What a batch of the backtest brought; `errors` are what the user's own code raised."""

    records: int
    events: int
    dead: list[Dead]
    signals: list[DriftSignal]
    errors: list[Exception]


def questions(
    pipeline: Pipeline, records: Iterable[Outgoing], keys: Mapping[str, KeyKind] = MappingProxyType({})
) -> Iterator[Question]:
    """The valid events of a data set; `keys` are the plan's `key_kinds`."""
    events = pipeline.events
    decoder = events.decoder(keys)
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
        self.served: dict[str, Score] = {}
        self.compared: list[ComparedWindow] = []  # the windows of features, for the report
        self._pipeline = pipeline
        self._names = (*pipeline.inputs, *plan.names)
        self._engine = FeatureEngine(
            [pipeline.intake(plan)], plan, transformer, pipeline.topic("dead-letters"), looked_up
        )
        self._labels = pipeline.labels.decoder()
        self.began = 0  # the event time (ms) of the first record
        self._next: Counter[str] = Counter()  # the offset of each topic's next record
        self._predicted = 0

    def run(self, records: Iterable[Outgoing], batch_size: int = BATCH) -> Iterator[Progress]:
        """Drive the core; yields after each batch."""
        iterator = iter(records)
        while batch := list(islice(iterator, batch_size)):
            if not self._next:
                self.began = batch[0].timestamp or 0
            yield self._batch([self._in_log(record) for record in batch])

    def _in_log(self, record: Outgoing) -> Record:
        """The record as it would stand on a topic that holds nothing else."""
        offset = self._next[record.topic]
        self._next[record.topic] = offset + 1
        return _in_log(record, offset)

    def _batch(self, records: Sequence[Record]) -> Progress:
        labels, events = self._pipeline.labels.topic, self._pipeline.events.topic
        computed = self._engine.take(record for record in records if record.topic != labels)
        answers = {answer.record.offset: answer for answer in computed.answers}
        done = Progress(len(records), len(answers), [*map(dead_of, computed.dead)], [], computed.errors)
        for record in records:
            if record.topic == labels:
                _sort_out(self._learn(record), record, done)
            elif record.topic == events and (answer := answers.get(record.offset)):
                _sort_out(self._predict(answer), record, done)
        return done

    def _predict(self, answer: FeatureVector) -> Iterator[LearnerEvent]:
        record, question, vector = answer
        served = [*[question.payload.get(name) for name in self._pipeline.inputs], *vector]
        champion = self.learner.champion
        try:
            score = champion.score(dict(zip(self._names, served, strict=True)))
        except Exception as fault:  # as in the predictor
            yield DeadLabel(record, "model", detail_of("model", fault), fault)
            return
        self.served[question.id] = score
        prediction = Prediction(question.id, question.time, score, champion.version, {}, served)
        place = Position(self._pipeline.topic("predictions"), 0, self._predicted)
        self._predicted += 1
        yield from self.learner.predicted(prediction, place)
        compared = self.learner.compared
        if compared is not None and compared not in self.compared[-1:]:
            self.compared.append(compared)

    def _learn(self, record: Record) -> Iterator[LearnerEvent]:
        try:
            event_id, time, payload = self._labels.decode(record)
        except InvalidRecord as fault:
            yield DeadLabel(record, fault.reason, str(fault))
        else:
            yield from self.learner.labelled(Label(event_id, time, payload[self._pipeline.target], record))


def _sort_out(happenings: Iterable[LearnerEvent], record: Record, into: Progress) -> None:
    """Put what happened at `record` where it belongs."""
    for happening in happenings:
        if isinstance(happening, DriftSignal):
            into.signals.append(happening)
        elif isinstance(happening, DeadLabel):
            _bury(happening.record, happening.reason, happening.detail, happening.error, into)
        elif isinstance(happening, LearningFailure):
            _bury(record, "model", happening.detail, happening.error, into)


def _bury(record: Record, reason: str, detail: str, error: Exception | None, into: Progress) -> None:
    into.dead.append(Dead(record.topic, record.partition, record.offset, reason, detail))
    if error is not None:
        into.errors.append(error)


def _in_log(record: Outgoing, offset: int) -> Record:
    return Record(record.topic, 0, offset, record.timestamp or 0, record.key, record.value, record.headers)
