"""The backtest: runs the engine's core over a data set in event-time order, without a broker.

It runs the code of the predict and the learn flow: each event is scored after all labels known at its time
have been learned, and each label is learned once. It shows the quality of the model without delays. The
flows' own metrics can only differ by the time that a model takes from the learner to the predictor.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from flows.core.models.model import Lineup
from flows.core.serving.predictor import detail_of
from flows.core.serving.scoring import EventScorer
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_tally import Dead, dead_of
from flows.core.stream.fields import KeyKind
from flows.errors import InvalidRecord
from flows.pipeline import Pipeline

BATCH = 2000  # records


class Progress(NamedTuple):
    """The results of one batch; `errors` are the exceptions of the user's own code."""

    records: int
    events: int
    dead: list[Dead]
    signals: list[DriftSignal]
    errors: list[Exception]


def questions(
    pipeline: Pipeline, records: Iterable[Outgoing], keys: Mapping[str, KeyKind] = MappingProxyType({})
) -> Iterator[Question]:
    """Yield the valid events of a data set; `keys` are the plan's `key_kinds`."""
    events = pipeline.events
    decoder = events.decoder(keys)
    for record in records:
        if record.topic == events.topic:
            with suppress(InvalidRecord):
                event_id, time, payload = decoder.decode(_in_log(record, 0))
                yield Question(event_id, time, payload)


class Backtest:
    """Runs records through the core of `pipeline`.

    `looked_up` holds the values of the plan's batch views by event id and event time (ms).
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
        self.compared: list[ComparedWindow] = []  # the feature windows, for the report
        self._pipeline = pipeline
        self._scorer = EventScorer(pipeline.inputs, plan)
        self._engine = FeatureEngine(
            [pipeline.intake(plan)], plan, transformer, pipeline.topic("dead-letters"), looked_up
        )
        self._labels = pipeline.labels.decoder()
        self.began = 0  # the event time (ms) of the first record
        self._next: Counter[str] = Counter()  # the next offset of each topic
        self._predicted = 0

    def run(self, records: Iterable[Outgoing], batch_size: int = BATCH) -> Iterator[Progress]:
        """Run records, which must be in event-time order; yield the results of each batch."""
        iterator = iter(records)
        while batch := list(islice(iterator, batch_size)):
            if not self._next:
                self.began = batch[0].timestamp or 0
            yield self._batch([self._in_log(record) for record in batch])

    def _in_log(self, record: Outgoing) -> Record:
        """Return the record as appended to its topic, whose offsets start at 0."""
        offset = self._next[record.topic]
        self._next[record.topic] = offset + 1
        return _in_log(record, offset)

    def _batch(self, records: Sequence[Record]) -> Progress:
        labels, events = self._pipeline.labels.topic, self._pipeline.events.topic
        computed = self._engine.take(record for record in records if record.topic != labels)
        vectors = {vector.record.offset: vector for vector in computed.answers}
        progress = Progress(len(records), len(vectors), [*map(dead_of, computed.dead)], [], computed.errors)
        for record in records:
            if record.topic == labels:
                _collect(self._learn(record), record, progress)
            elif record.topic == events and record.offset in vectors:
                vector = vectors[record.offset]
                _collect(self._predict(vector, progress.errors.append), record, progress)
        return progress

    def _predict(
        self, vector: FeatureVector, failed: Callable[[Exception], object]
    ) -> Iterator[LearnerEvent]:
        lineup = Lineup(self.learner.champion)  # the learner may have promoted another one
        try:
            prediction = self._scorer.predict(vector.question, vector.vector, lineup, failed)
        except Exception as fault:  # an estimator is the user's code
            yield DeadLabel(vector.record, "model", detail_of("model", fault), fault)
            return
        self.served[prediction.id] = prediction.score
        place = Position(self._pipeline.topic("predictions"), 0, self._predicted)
        self._predicted += 1
        yield from self.learner.predicted(prediction, place)
        compared = self.learner.compared
        if compared is not None and self.compared[-1:] != [compared]:
            self.compared.append(compared)

    def _learn(self, record: Record) -> Iterator[LearnerEvent]:
        try:
            event_id, time, payload = self._labels.decode(record)
        except InvalidRecord as fault:
            yield DeadLabel(record, fault.reason, str(fault))
        else:
            yield from self.learner.labelled(Label(event_id, time, payload[self._pipeline.target], record))


def _collect(events: Iterable[LearnerEvent], record: Record, progress: Progress) -> None:
    """Add the learner's events at `record` to the results."""
    for event in events:
        if isinstance(event, DriftSignal):
            progress.signals.append(event)
        elif isinstance(event, DeadLabel):
            _add_dead(event.record, event.reason, event.detail, event.error, progress)
        elif isinstance(event, LearningFailure):
            _add_dead(record, "model", event.detail, event.error, progress)


def _add_dead(record: Record, reason: str, detail: str, error: Exception | None, progress: Progress) -> None:
    progress.dead.append(Dead(record.topic, record.partition, record.offset, reason, detail))
    if error is not None:
        progress.errors.append(error)


def _in_log(record: Outgoing, offset: int) -> Record:
    return Record(record.topic, 0, offset, record.timestamp or 0, record.key, record.value, record.headers)
