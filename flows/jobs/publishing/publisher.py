"""Publishes records in event-time order, at the pace given."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from flows.core.serving.prediction_message import PUBLISHED_AT
from flows.core.stream.broker import Outgoing
from flows.jobs.publishing.pace import Ends, Pace
from flows.pipeline import Pipeline

_CHUNK = 2000  # records sent at once, at most


class RecordSender(Protocol):
    """Writes records and waits for their acknowledgement."""

    def send(self, records: Sequence[Outgoing]) -> Ends:
        """Write `records` in order; return the offset after the last one, by partition."""


class _HeldLabels(NamedTuple):
    events: Ends  # sent when the predictor has read up to here
    labels: list[Outgoing]


class _Chunk(NamedTuple):
    sources: list[Outgoing]
    events: list[Outgoing]
    labels: list[Outgoing]


def publish(
    producer: RecordSender, pipeline: Pipeline, records: Iterable[Outgoing], pace: Pace, step: int
) -> Iterator[list[Outgoing]]:
    """Send `records` in chunks of at most `step` ms of event time; yield the records of each send.

    Within a chunk the sources go first, so that the log holds what was known before each event. Labels are
    held back until the predictor has read the events sent before them, as `pace` says. Otherwise the learner
    of a fast replay would learn a label before earlier events are scored.
    """
    held: deque[_HeldLabels] = deque()
    for records_of_step in _chunks(records, step):
        while not pace.is_time(_time(records_of_step[-1]), _oldest(held)):
            yield from _release(producer, held, pace)
            pace.rest()
        chunk = _sorted(records_of_step, pipeline)
        unlabelled = chunk.sources + chunk.events
        ends = producer.send(unlabelled) if unlabelled else {}
        pace.sent(_time(records_of_step[0]), ends)
        if chunk.labels:
            held.append(_HeldLabels(ends, chunk.labels))
        yield unlabelled
        yield from _release(producer, held, pace)
    while held:
        pace.rest()
        yield from _release(producer, held, pace)


def _chunks(records: Iterable[Outgoing], step: int) -> Iterator[list[Outgoing]]:
    chunk: list[Outgoing] = []
    for record in records:
        if chunk and (len(chunk) == _CHUNK or _time(record) - _time(chunk[0]) > step):
            yield chunk
            chunk = []
        chunk.append(record)
    if chunk:
        yield chunk


def _sorted(records: Iterable[Outgoing], pipeline: Pipeline) -> _Chunk:
    """Sort the records by kind, and stamp the events with the time of publishing."""
    chunk = _Chunk([], [], [])
    headers = ((PUBLISHED_AT, str(time.time_ns() // 1000).encode()),)
    for record in records:
        if record.topic == pipeline.events.topic:
            chunk.events.append(record._replace(headers=headers))
        elif record.topic == pipeline.labels.topic:
            chunk.labels.append(record)
        else:
            chunk.sources.append(record)
    return chunk


def _release(producer: RecordSender, held: deque[_HeldLabels], pace: Pace) -> Iterator[list[Outgoing]]:
    """Send the labels whose events were read, and yield them."""
    while held and pace.answered(held[0].events):
        labels = held.popleft().labels
        pace.sent(_time(labels[0]), producer.send(labels))
        yield labels


def _oldest(held: deque[_HeldLabels]) -> int | None:
    return _time(held[0].labels[0]) if held else None


def _time(record: Outgoing) -> int:
    return record.timestamp or 0
