"""Reads the rows of a training from the predictions and labels topics."""

from collections.abc import Iterator, Mapping
from heapq import merge

from flows.core.evaluation.label_join import valid_labels
from flows.core.learning.candidates.cuts import Cut
from flows.core.learning.candidates.joined_log import JoinedLog, JoinSettings
from flows.core.learning.training import LabelledRow
from flows.core.models.tasks import task_of
from flows.core.serving import prediction_message
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.times import in_milliseconds
from flows.errors import InvalidRecord
from flows.pipeline import Pipeline


class LoggedRows:
    """The rows of a pipeline whose label is known at `since` (ms) or later, in the order of their labels."""

    def __init__(self, broker: Broker, pipeline: Pipeline, since: int) -> None:
        wait = in_milliseconds(pipeline.label_wait)
        task = task_of(pipeline.task)
        self._broker = broker
        self._predictions = pipeline.topic("predictions")
        self._labels = pipeline.labels.topic
        self._decoder = pipeline.labels.decoder()
        self._target = pipeline.target
        self._join = JoinedLog(task, JoinSettings(since, wait, pipeline.max_pending, pipeline.default_label))
        self._topics = [self._labels, self._predictions] if task.learns_from_labels else [self._predictions]
        self._next = {
            partition: broker.offset_at(partition, max(0, since - wait)) for partition in self._ends()
        }

    @property
    def now(self) -> int:
        """The latest event time (ms) of the records read so far."""
        return self._join.now

    def read_until(self, time: int) -> Iterator[LabelledRow]:
        """Yield the rows from where the last call ended to before the first records after `time` (ms)."""
        return self._read(
            {partition: self._broker.offset_at(partition, time + 1) for partition in self._next}
        )

    def read(self) -> Iterator[LabelledRow]:
        """Yield the rows from where the last call ended to the present end of the log."""
        return self._read(self._ends())

    def read_again(self, until: int, ends: Mapping[TopicPartition, int]) -> Iterator[LabelledRow]:
        """Yield the rows of a training that read until a time (ms), and then on to these ends."""
        last = {partition: ends.get(partition, start) for partition, start in self._next.items()}
        yield from self._read(
            {each: min(end, self._broker.offset_at(each, until + 1)) for each, end in last.items()}
        )
        yield from self._read(last)

    def remaining(self) -> int:
        """Return the number of records with rows that are not read yet."""
        rows = self._topics[0]
        ends = self._broker.ends([rows])
        return sum(max(0, end - self._next[partition]) for partition, end in ends.items())

    def _read(self, ends: Mapping[TopicPartition, int]) -> Iterator[LabelledRow]:
        parts = [self._records(partition, ends[partition]) for partition in self._next]
        for record in merge(*parts, key=lambda record: record.timestamp):
            self._next[TopicPartition(*record[:2])] = record.offset + 1
            yield from self._rows(record)
            if self._join.is_ahead and self._has_all_predictions(ends):
                return  # the predict flow is behind: the labels are read when it has caught up

    def cut(self) -> Cut:
        """Return where the rows read so far end."""
        return self._join.cut()

    def _ends(self) -> dict[TopicPartition, int]:
        """Return the end of each partition; labels first, so that none is read without its prediction."""
        ends: dict[TopicPartition, int] = {}
        for topic in self._topics:
            ends |= self._broker.ends([topic])
        return ends

    def _records(self, partition: TopicPartition, end: int) -> Iterator[Record]:
        for records in read_range(self._broker, partition, self._next[partition], end):
            yield from records

    def _rows(self, record: Record) -> Iterator[LabelledRow]:
        """Yield the rows that follow from a record; the learner reports invalid ones."""
        if record.topic == self._labels:
            for label in valid_labels([record], self._decoder, self._target):
                yield from self._join.labelled(label)
            return
        try:
            prediction = prediction_message.decode(record)
        except InvalidRecord:
            return
        yield from self._join.predicted(prediction, record)

    def _has_all_predictions(self, ends: Mapping[TopicPartition, int]) -> bool:
        return all(
            offset >= ends[partition]
            for partition, offset in self._next.items()
            if partition.topic == self._predictions
        )
