"""The events that a batch scores, and the records that their features need, in the order of a flow."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from flows.adapters.parquet.records import ParquetRecords
from flows.core.features.plan import FeaturePlan
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.decode import CLOCK_TOLERANCE
from flows.core.stream.merge import clamp_future_timestamps, merged
from flows.errors import InvalidRecord
from flows.pipeline import Pipeline

# The positions [start, end) of the events to score in each log. A log is a partition of the topic, and a
# position an offset; a file is one log, and a position a row in the order of time.
Part = Mapping[int, tuple[int, int]]


class AskedEvent(Record):
    """An event to score; the other events only count in the windows of later ones."""

    __slots__ = ()


class Bounds(NamedTuple):
    """What a batch reads: the time (ms) at which it began, and the ends of the topics at that time.

    The keys of `ends` are such as "flights/0".
    """

    now: int
    ends: Mapping[str, int]


class BatchHistory:
    """Reads the events of the topic, or of a parquet file, with the records of the other streams before them.

    If features aggregate the events, the logged events count beside those of a file; an event that is in both
    is that of the file.
    """

    def __init__(
        self, pipeline: Pipeline, plan: FeaturePlan, broker: Broker, bounds: Bounds, file: Path | None
    ) -> None:
        self._broker = broker
        self._bounds = bounds
        self._events = pipeline.events
        self._streams = [each for each in pipeline.sources if each.topic in plan.streams]
        self._aggregates_events = pipeline.events.topic in plan.streams
        self._decoders = {stream.topic: stream.decoder() for stream in pipeline.feature_streams}
        self._file = None if file is None else ParquetRecords(file, pipeline.events, pipeline.partitions)
        # a record before this time has no effect on an event: its windows are over, and it is no duplicate
        spans = [view.delay + view.longest + view.slide for view in plan.views]
        self._reach = max(spans, default=0) + plan.lateness + CLOCK_TOLERANCE

    def everything(self) -> Part:
        """Return the positions of all events."""
        if self._file is not None:
            return {0: (0, len(self._file))}
        starts = self._broker.offsets(self._events.topic)
        return {
            number: (start, self._end(TopicPartition(self._events.topic, number)))
            for number, (start, _) in enumerate(starts)
        }

    def records(self, part: Part) -> Iterator[Record]:
        """Yield what the features of a part's events need, in order; the events to score are `AskedEvent`."""
        since = self._earliest(part) - self._reach
        logs = [log for stream in self._streams for log in self._logs(stream.topic, since)]
        if self._file is None:
            logs += [self._asked(number, bounds, since) for number, bounds in part.items()]
        else:
            logs.append(each for each in self._rows(*part[0]) if each.timestamp >= since)
            if self._aggregates_events:
                logs += [self._not_in_file(log) for log in self._logs(self._events.topic, since)]
        return merged(logs)

    def log_of(self, event: AskedEvent) -> int:
        """Return the log that an event is in."""
        return event.partition if self._file is None else 0

    def _earliest(self, part: Part) -> int:
        """Return the earliest time (ms) of a part's events, by their records or by their content."""
        earliest = self._bounds.now
        decoder = self._decoders[self._events.topic]
        for record in self._alone(part):
            earliest = min(earliest, record.timestamp)
            with suppress(InvalidRecord):  # it is counted when it is scored
                earliest = min(earliest, decoder.decode(record).time)
        return earliest

    def _alone(self, part: Part) -> Iterator[Record]:
        """Yield the events of a part, log by log."""
        if self._file is not None:
            yield from (each for each in self._rows(*part[0]) if isinstance(each, AskedEvent))
            return
        for number, (start, end) in part.items():
            yield from self._records(TopicPartition(self._events.topic, number), start, end)

    def _rows(self, start: int, end: int) -> Iterator[Record]:
        """Yield the events of the file up to a position; those from `start` on are to be scored."""
        assert self._file is not None
        for position, record in enumerate(islice(self._file, end)):
            yield record if position < start else AskedEvent(*record)

    def _logs(self, topic: str, since: int) -> list[Iterator[Record]]:
        numbers = range(len(self._broker.offsets(topic)))
        return [self._log(TopicPartition(topic, number), since) for number in numbers]

    def _log(self, partition: TopicPartition, since: int) -> Iterator[Record]:
        return self._records(partition, self._offset_at(partition, since), self._end(partition))

    def _asked(self, number: int, bounds: tuple[int, int], since: int) -> Iterator[Record]:
        """Yield the events of a partition; those within the bounds are to be scored."""
        partition, (start, end) = TopicPartition(self._events.topic, number), bounds
        first = min(start, self._offset_at(partition, since))  # an event may have no timestamp
        for record in self._records(partition, first, self._end(partition)):
            yield AskedEvent(*record) if start <= record.offset < end else record

    def _offset_at(self, partition: TopicPartition, since: int) -> int:
        return self._broker.offset_at(partition, max(0, since))

    def _records(self, partition: TopicPartition, start: int, end: int) -> Iterator[Record]:
        for records in read_range(self._broker, partition, start, end):
            yield from clamp_future_timestamps(records, self._bounds.now, self._decoders)

    def _end(self, partition: TopicPartition) -> int:
        return self._bounds.ends.get(f"{partition.topic}/{partition.partition}", 0)

    def _not_in_file(self, log: Iterable[Record]) -> Iterator[Record]:
        return (each for each in log if self._id(each) not in self._ids_of_file)

    @cached_property
    def _ids_of_file(self) -> frozenset[str | None]:
        assert self._file is not None
        return frozenset(map(self._id, self._file)) - {None}

    def _id(self, record: Record) -> str | None:
        """Return the id of an event, None for an invalid one."""
        with suppress(InvalidRecord):
            return self._decoders[self._events.topic].decode(record).id
        return None


def bounds_now(pipeline: Pipeline, broker: Broker, now: int) -> Bounds:
    """Return the present ends of the topics that the predict flow reads."""
    ends = broker.ends([stream.topic for stream in pipeline.feature_streams])
    return Bounds(now, {f"{each.topic}/{each.partition}": end for each, end in ends.items()})


def size_of(part: Part) -> int:
    """Return the number of a part's events."""
    return sum(end - start for start, end in part.values())


def cut(everything: Part, number: int) -> list[Part]:
    """Return as many parts of about equal size, each with a piece of every log.

    >>> cut({0: (0, 4), 1: (10, 13)}, 2)
    [{0: (0, 2), 1: (10, 11)}, {0: (2, 4), 1: (11, 13)}]
    """

    def edge(log: tuple[int, int], at: int) -> int:
        return log[0] + (log[1] - log[0]) * at // number

    return [
        {key: (edge(log, at), edge(log, at + 1)) for key, log in everything.items()} for at in range(number)
    ]
