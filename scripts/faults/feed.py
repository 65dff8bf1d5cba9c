"""Sends the records of a run, as fast as its flows and its plan allow."""

import time
from collections.abc import Iterable, Iterator, Sequence

from flows.core.stream.broker import Outgoing
from scripts.faults.plan import Plan
from scripts.faults.site import Log

RESERVE = 4  # the last quarter of the events is held back while kills are due, so that they find work
SPAN = 3_600_000  # ms of event time sent in one batch, sources first, as `driftline publish` does


class Feed:
    """Sends the records in event-time order; bounds the backlog of the flows and the events per second."""

    def __init__(self, log: Log, records: Iterable[Outgoing], plan: Plan) -> None:
        self._log = log
        self._backlog = plan.backlog
        self._unreserved = plan.events - plan.events // RESERVE  # events
        self._producer = log.broker.producer()
        self._chunks = _spans(records)
        self._next = next(self._chunks, None)
        self._events = log.running.pipeline.events.topic
        self._sent = 0  # events
        self._pace = plan.pace
        self._began = time.monotonic()

    @property
    def left(self) -> bool:
        return self._next is not None

    def go_on_with_reserve(self) -> None:
        """Send up to the backlog; of the reserve send one span, and only to flows that have caught up."""
        self.go_on(self._backlog if self._sent < self._unreserved else 1)

    def go_on(self, backlog: int) -> None:
        """Send until the flows are `backlog` records behind."""
        room = backlog - max(self._log.lag(flow) for flow in ("predict", "learn"))
        while self._next is not None and room > 0 and self._is_due():
            room -= self._send(self._next)
            self._next = next(self._chunks, None)

    def _is_due(self) -> bool:
        return self._sent <= self._pace * (time.monotonic() - self._began)

    def _send(self, span: Sequence[Outgoing]) -> int:
        """Send the span and return its number of records."""
        sources = [record for record in span if record.topic != self._events]
        events = [record for record in span if record.topic == self._events]
        for records in (sources, events):
            if records:
                self._producer.send(records)
        self._sent += len(events)
        return len(span)


def _spans(records: Iterable[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    chunk: list[Outgoing] = []
    for record in records:
        if chunk and (record.timestamp or 0) - (chunk[0].timestamp or 0) > SPAN:
            yield chunk
            chunk = []
        chunk.append(record)
    if chunk:
        yield chunk
