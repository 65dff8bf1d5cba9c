"""Reads the events that two versions scored together, with their labels."""

from collections.abc import Iterable, Iterator

from flows.core.evaluation.evaluation import Baselines
from flows.core.evaluation.label_join import Joined, valid_labels
from flows.core.evaluation.logged_join import LoggedJoin
from flows.core.learning.comparison import PairedScores
from flows.core.models.baselines import Score
from flows.core.models.model import Prediction
from flows.core.models.tasks import task_of
from flows.core.registry.registry import RegisteredVersion
from flows.core.serving.prediction_message import decode
from flows.core.stream.broker import Broker, Record, partitions_since
from flows.core.stream.merge import merged
from flows.core.stream.times import in_milliseconds, milliseconds
from flows.errors import ConfigError, InvalidRecord
from flows.pipeline import Pipeline


class CommonEvents:
    """The events that two versions of a pipeline scored; `number` counts those read so far."""

    def __init__(self, pipeline: Pipeline, first: str, second: str) -> None:
        self.number = 0
        self._pipeline = pipeline
        self._first = first
        self._second = second
        self._task = task_of(pipeline.task)
        self._baselines = Baselines(self._task)
        wait = in_milliseconds(pipeline.label_wait)
        self._join = LoggedJoin(wait, pipeline.max_pending, pipeline.default_label)
        self._labels = pipeline.labels.decoder()

    def labelled(self, records: Iterable[Record]) -> Iterator[PairedScores]:
        """Yield the labelled ones in predictions and labels in the order of their time."""
        for record in records:
            if record.topic == self._pipeline.labels.topic:
                for label in valid_labels([record], self._labels, self._pipeline.target):
                    yield from self._paired(self._join.advance(label.time, record))
                    yield from self._paired([self._join.labelled(label)])
            else:
                yield from self._predicted(record)

    def _predicted(self, record: Record) -> Iterator[PairedScores]:
        try:
            prediction = decode(record)
        except InvalidRecord:
            return
        yield from self._paired(self._join.advance(prediction.time, record))
        scores, serves = _scores(prediction), self._task.serves
        if all(version in scores and serves(scores[version]) for version in (self._first, self._second)):
            self.number += 1
            yield from self._paired([self._join.predicted(self._baselines.pending(prediction))])

    def _paired(self, found: Iterable[object]) -> Iterator[PairedScores]:
        for joined in found:
            if isinstance(joined, Joined):
                scores = _scores(joined.pending.prediction)
                yield PairedScores(joined.label.truth, scores[self._first], scores[self._second])


def common_scores(
    pipeline: Pipeline, broker: Broker, first: RegisteredVersion, second: RegisteredVersion
) -> list[PairedScores]:
    """Return the labelled events that both versions scored; raises `ConfigError` if there is none."""
    born = max(milliseconds(each.born.time) for each in (first, second))
    since = max(0, born - in_milliseconds(pipeline.label_wait))
    events = CommonEvents(pipeline, first.name, second.name)
    pairs = list(events.labelled(_records(pipeline, broker, since)))
    if not pairs and events.number:
        raise ConfigError(
            f"{first.name!r} and {second.name!r} both scored {events.number:,} events, and none of them has "
            "a label yet; compare them when labels have come"
        )
    if not pairs:
        raise ConfigError(
            f"two versions must have scored the same events, got {first.name!r} and {second.name!r}, which "
            "never did; compare a champion with a version that was in its shadow"
        )
    return pairs


def _records(pipeline: Pipeline, broker: Broker, since: int) -> Iterator[Record]:
    """Return the labels and predictions after `since` (ms), in the order of their time."""
    topics = (pipeline.labels.topic, pipeline.topic("predictions"))
    return merged([each for topic in topics for each in partitions_since(broker, topic, since)])


def _scores(prediction: Prediction) -> dict[str, Score]:
    return {**prediction.shadows, prediction.version: prediction.score}
