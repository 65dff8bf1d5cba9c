"""Publishes records in event-time order, at a chosen speed or as fast as the flows keep up."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from flows.core.serving.prediction_message import PUBLISHED_AT
from flows.core.stream.broker import Outgoing, Producer, TopicPartition
from flows.pipeline import Pipeline

_CHUNK = 2000  # records that are sent together at most

Ends = dict[TopicPartition, int]  # the offsets that follow what was sent


def publish(
    producer: Producer, pipeline: Pipeline, records: Iterable[Outgoing], pace: "Pace", step: int
) -> Iterator[list[Outgoing]]:
    """Send `records` in chunks of at most `step` ms of event time; yields those that were sent each time.

    Of a chunk the sources go first, so that what is known at a moment is in the log before its questions, and
    the labels go when the pace says that its questions are answered: in a fast replay the learner must not
    know a label before the questions that came before it.
    """
    held: deque[tuple[Ends, list[Outgoing]]] = deque()
    for chunk in _chunks(records, step):
        while not pace.is_time(chunk[-1].timestamp or 0, held[0][1][0].timestamp if held else None):
            yield from _release(producer, held, pace)
            pace.rest()
        sources, events, labels = _by_kind(chunk, pipeline)
        ends = producer.send(sources + events) if sources or events else {}
        pace.sent(chunk[0].timestamp or 0, ends)
        if labels:
            held.append((ends, labels))
        yield sources + events
        yield from _release(producer, held, pace)
    while held:
        pace.rest()
        yield from _release(producer, held, pace)


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


def _release(
    producer: Producer, held: deque[tuple[Ends, list[Outgoing]]], pace: "Pace"
) -> Iterator[list[Outgoing]]:
    """Send the labels whose questions are answered, and yield them."""
    while held and pace.answered(held[0][0]):
        labels = held.popleft()[1]
        pace.sent(labels[0].timestamp or 0, producer.send(labels))
        yield labels


class Pace(Protocol):
    """How fast `publish` goes."""

    def is_time(self, event_time: int, held: int | None) -> bool:
        """Whether a chunk whose last record is of `event_time` (ms) may be sent.

        `held` is the time of the oldest label that is held back.
        """

    def rest(self) -> None:
        """Wait a moment before the next question."""

    def sent(self, first: int, ends: Ends) -> None:
        """Records went out, the first of them of `first` (ms)."""

    def answered(self, ends: Ends) -> bool:
        """Whether the events up to `ends` have been read by the predictor."""


class SpeedUp:
    """Event time passes `factor` times as fast as the clock."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._origin: tuple[float, int] | None = None
        self._left = 0.0  # seconds

    def is_time(self, event_time: int, held: int | None) -> bool:
        """Whether `event_time` (ms) has come."""
        if self._origin is None:
            self._origin = (time.monotonic(), event_time)
        began, first = self._origin
        self._left = began + (event_time - first) / 1000 / self._factor - time.monotonic()
        return self._left <= 0

    def rest(self) -> None:
        """Sleep until it has come."""
        time.sleep(max(0.0, self._left))

    def sent(self, first: int, ends: Ends) -> None:
        """A clock does not mind."""

    def answered(self, ends: Ends) -> bool:
        """Labels come when their time has come."""
        return True


def _chunks(records: Iterable[Outgoing], step: int) -> Iterator[list[Outgoing]]:
    chunk: list[Outgoing] = []
    for record in records:
        if chunk and (len(chunk) == _CHUNK or (record.timestamp or 0) - (chunk[0].timestamp or 0) > step):
            yield chunk
            chunk = []
        chunk.append(record)
    if chunk:
        yield chunk
