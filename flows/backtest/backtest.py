"""The backtest: runs the engine's core over a data set in event-time order, without a broker.

It runs the code of the predict and the learn flow: each event is scored after all labels known at its time
have been learned, and each label is learned once. It shows the quality of the model without delays. The
flows' own metrics can only differ by the time that a model takes from the learner to the predictor.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, islice
from types import MappingProxyType
from typing import NamedTuple

from flows.core.drift.features import ComparedWindow
from flows.core.drift.levels import Position
from flows.core.drift.signal import DriftSignal
from flows.core.evaluation.label_join import Label, read_labels
from flows.core.features.batch import Question
from flows.core.features.engine import FeatureEngine, FeatureVector
from flows.core.features.plan import FeaturePlan
from flows.core.features.transforms import Transformer
from flows.core.features.windows.sliding import Value
from flows.core.learning.events import DeadLabel, LearnerEvent, LearningFailure
from flows.core.learning.learner import Learner
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

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does


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
                event_id, time, payload = decoder.decode(_at(record, 0))
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
        self._scorer = EventScorer(pipeline.inputs, plan)
        self._engine = FeatureEngine(
            [pipeline.intake(plan)], plan, transformer, pipeline.topic("dead-letters"), looked_up
        )
        self._labels = pipeline.labels.decoder()
        self._target = pipeline.target
        self._labels_topic = pipeline.labels.topic
        self._predictions_topic = pipeline.topic("predictions")
        self._lineup = Lineup(learner.champion)
        self.began = 0  # the event time (ms) of the first record
        self._offsets: defaultdict[str, count[int]] = defaultdict(count)  # the next ones of each topic
        self._predicted = 0

    def run(self, records: Iterable[Outgoing], step: int = BATCH) -> Iterator[Progress]:
        """Run records, which must be in event-time order; yield the results of each `step` of them.

        A step may be short: the features of more records are computed together, which costs less.
        """
        iterator = iter(records)
        while batch := self._in_log(islice(iterator, step * max(1, BATCH // step))):
            self.began = self.began or batch[0].timestamp
            yield from self._batch(batch, step)

    def _in_log(self, records: Iterable[Outgoing]) -> list[Record]:
        """Return the records as appended to their topics."""
        offsets = self._offsets
        return [_at(each, next(offsets[each[0]])) for each in records]

    def _batch(self, records: Sequence[Record], step: int) -> Iterator[Progress]:
        labels = self._labels_topic
        computed = self._engine.take([record for record in records if record.topic != labels])
        answers = deque(computed.answers)
        dead, errors = [*map(dead_of, computed.dead)], computed.errors
        for start in range(0, len(records), step):
            part, unanswered = records[start : start + step], len(answers)
            progress = Progress(len(part), 0, dead, [], errors)
            self._step(part, answers, progress)
            yield progress._replace(events=unanswered - len(answers))
            dead, errors = [], []

    def _step(self, records: Sequence[Record], answers: deque[FeatureVector], progress: Progress) -> None:
        """Predict and learn in the order of the records; remove the answers from the vectors."""
        topic = self._labels_topic
        labels = iter(read_labels([each for each in records if each[0] == topic], self._labels, self._target))
        for record in records:
            events: Sequence[LearnerEvent] = ()
            if record[0] == topic:
                events = self._learn(next(labels), record)
            elif answers and answers[0].record is record:
                events = self._predict(answers.popleft(), progress.errors.append)
            if events:
                _collect(events, record, progress)

    def _predict(
        self, vector: FeatureVector, failed: Callable[[Exception], object]
    ) -> Sequence[LearnerEvent]:
        learner, lineup = self.learner, self._lineup
        lineup.champion = learner.champion  # the learner may have promoted another one
        try:
            prediction = self._scorer.predict(vector.question, vector.vector, lineup, failed)
        except Exception as fault:  # an estimator is the user's code
            return [DeadLabel(vector.record, "model", detail_of("model", fault), fault)]
        self.served[prediction.id] = prediction.score
        place = _tuple(Position, (self._predictions_topic, 0, self._predicted))
        self._predicted += 1
        events = learner.predicted(prediction, place)
        compared = learner.compared
        if compared is not None and not (self.compared and self.compared[-1] is compared):
            self.compared.append(compared)
        return events

    def _learn(self, label: Label | InvalidRecord, record: Record) -> Sequence[LearnerEvent]:
        if isinstance(label, InvalidRecord):
            return [DeadLabel(record, label.reason, str(label))]
        return self.learner.labelled(label)


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


def _at(record: Outgoing, offset: int) -> Record:
    """Return the record as appended to its topic at this offset."""
    topic, value, key, _, timestamp, headers = record
    return _tuple(Record, (topic, 0, offset, timestamp or 0, key, value, headers))
