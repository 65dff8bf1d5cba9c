"""Publishes records in event-time order, at a chosen speed or as fast as the flows keep up."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from flows.core.broker import Broker, Outgoing, Producer, TopicPartition
from flows.core.plan import LATENESS
from flows.core.predictions import PUBLISHED_AT
from flows.errors import ConfigError
from flows.pipeline import Pipeline, Stream

_CHUNK = 2000  # records that are sent together at most
_CHUNKS_IN_BOUND = 8
_POLL = 0.002  # seconds between looks at the flows' progress

Ends = dict[TopicPartition, int]  # the offsets that follow what was sent


class _Sent(NamedTuple):
    time: int  # of the first record of the chunk (ms)
    topic: str
    group: str
    ends: dict[int, int]  # partition to the offset after the chunk


def publish(
    broker: Broker, pipeline: Pipeline, records: Iterable[Outgoing], pace: "Pace", step: int
) -> Iterator[int]:
    """Send `records` in chunks of at most `step` ms of event time; yields how many were sent each time.

    Of a chunk the sources go first, so that what is known at a moment is in the log before its questions, and
    the labels go when the pace says that its questions are answered: in a fast replay the learner must not
    know a label before the questions that came before it.
    """
    producer = broker.producer()
    held: deque[tuple[Ends, list[Outgoing]]] = deque()
    for chunk in _chunks(records, step):
        pace.wait_for(chunk[-1].timestamp or 0)
        sources, events, labels = _by_kind(chunk, pipeline)
        ends = producer.send(sources + events) if sources or events else {}
        pace.sent(chunk[0].timestamp or 0, ends)
        if labels:
            held.append((ends, labels))
        yield len(sources) + len(events) + _release(producer, held, pace)
    while held:
        yield _release(producer, held, pace)
        time.sleep(_POLL)
    producer.close()


def _by_kind(
    chunk: Iterable[Outgoing], pipeline: Pipeline
) -> tuple[list[Outgoing], list[Outgoing], list[Outgoing]]:
    """The chunk's sources, its events with the time they are published at, and its labels."""
    sources: list[Outgoing] = []
    events: list[Outgoing] = []
    labels: list[Outgoing] = []
    headers = ((PUBLISHED_AT, str(time.time_ns() // 1000).encode()),)
    for record in chunk:
        if record.topic == pipeline.events.topic:
            events.append(record._replace(headers=headers))
        elif record.topic == pipeline.labels.topic:
            labels.append(record)
        else:
            sources.append(record)
    return sources, events, labels


def _release(producer: Producer, held: deque[tuple[Ends, list[Outgoing]]], pace: "Pace") -> int:
    """Send the labels whose questions are answered; how many those were."""
    released = 0
    while held and pace.answered(held[0][0]):
        labels = held.popleft()[1]
        pace.sent(labels[0].timestamp or 0, producer.send(labels))
        released += len(labels)
    return released


class Pace(Protocol):
    """How fast `publish` goes."""

    def wait_for(self, event_time: int) -> None:
        """Wait until a chunk whose last record is of `event_time` (ms) may be sent."""

    def sent(self, first: int, ends: Ends) -> None:
        """Records went out, the first of them of `first` (ms)."""

    def answered(self, ends: Ends) -> bool:
        """Whether the events up to `ends` have been read by the predictor."""


class SpeedUp:
    """Event time passes `factor` times as fast as the clock."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._origin: tuple[float, int] | None = None

    def wait_for(self, event_time: int) -> None:
        """Sleep until `event_time` (ms) has come."""
        if self._origin is None:
            self._origin = (time.monotonic(), event_time)
        began, first = self._origin
        time.sleep(max(0.0, began + (event_time - first) / 1000 / self._factor - time.monotonic()))

    def sent(self, first: int, ends: Ends) -> None:
        """A clock does not mind."""

    def answered(self, ends: Ends) -> bool:
        """Labels come when their time has come."""
        return True


class Bound:
    """The flows stay within `bound` ms of event time of the publisher, judged by their groups' offsets.

    `waiting` is called, once, when they have not moved for a while.
    """

    PATIENCE = 15.0  # seconds

    def __init__(self, broker: Broker, pipeline: Pipeline, bound: int, waiting: Callable[[], None]) -> None:
        self._broker = broker
        self._pipeline = pipeline
        self._bound = bound
        self._waiting = waiting
        self._watched = {
            pipeline.events.topic: pipeline.group("predict"),
            pipeline.labels.topic: pipeline.group("learn"),
        }
        self._moved_at = time.monotonic()
        self._sent: dict[str, deque[_Sent]] = {topic: deque() for topic in self._watched}

    def wait_for(self, event_time: int) -> None:
        """Wait until the oldest record that a flow has still to read is at most `bound` older."""
        while (sent := self._oldest()) and event_time - sent[0].time > self._bound:
            if self._is_read(sent[0]):
                sent.popleft()
            else:
                time.sleep(_POLL)

    def answered(self, ends: Ends) -> bool:
        """Whether the predictor has read the events up to `ends`."""
        events = self._pipeline.events.topic
        of_events = {p.partition: end for p, end in ends.items() if p.topic == events}
        return self._is_read(_Sent(0, events, self._watched[events], of_events))

    def sent(self, first: int, ends: Ends) -> None:
        """Records went out, the first of them of `first` (ms)."""
        self._moved_at = time.monotonic()
        for topic, group in self._watched.items():
            of_topic = {p.partition: end for p, end in ends.items() if p.topic == topic}
            if of_topic:
                self._sent[topic].append(_Sent(first, topic, group, of_topic))

    def _oldest(self) -> deque[_Sent] | None:
        """The topic whose first chunk is the oldest: labels go out after newer events."""
        waiting = [sent for sent in self._sent.values() if sent]
        return min(waiting, key=lambda sent: sent[0].time, default=None)

    def _is_read(self, sent: _Sent) -> bool:
        committed = self._broker.committed(sent.group, sent.topic)
        is_read = all(committed.get(partition, 0) >= end for partition, end in sent.ends.items())
        now = time.monotonic()
        if is_read:
            self._moved_at = now
        elif now - self._moved_at > self.PATIENCE:
            self._waiting()
            self._moved_at = inf
        return is_read


def default_step(bound: int) -> int:
    """How much event time (ms) a chunk spans when the flows keep within `bound` ms."""
    return max(1, min(bound // _CHUNKS_IN_BOUND, LATENESS))


@dataclass(frozen=True)
class FileRecords:
    """The lines of a file, each the JSON of one record of `stream`, in the file's order."""

    path: Path
    stream: Stream

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise ConfigError(f"there is no file {self.path}; name one with a JSON record on each line")

    def __len__(self) -> int:
        with self.path.open("rb") as lines:
            return sum(1 for line in lines if line.strip())

    def __iter__(self) -> Iterator[Outgoing]:
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield self._record(number, line.strip())

    def _record(self, number: int, line: bytes) -> Outgoing:
        try:
            payload = orjson.loads(line)
            key = str(payload[self.stream.id]).encode()
            event_time = self.stream.event_time(payload[self.stream.time])
        except (orjson.JSONDecodeError, TypeError, KeyError, ValueError) as error:
            raise ConfigError(f"{self.path}, line {number}: {error}") from None
        return Outgoing(self.stream.topic, line, key, timestamp=event_time)


def _chunks(records: Iterable[Outgoing], step: int) -> Iterator[list[Outgoing]]:
    chunk: list[Outgoing] = []
    for record in records:
        if chunk and (len(chunk) == _CHUNK or (record.timestamp or 0) - (chunk[0].timestamp or 0) > step):
            yield chunk
            chunk = []
        chunk.append(record)
    if chunk:
        yield chunk
