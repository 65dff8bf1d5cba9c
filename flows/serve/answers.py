"""The predictions on the topic: found by the ids of their events, and waited for."""

import asyncio
from collections.abc import Sequence
from contextlib import closing

from flows.core.serving.last_known import LastKnown
from flows.core.stream import dead_letter
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.errors import InvalidRecord
from flows.jobs.models.newest import newest_first

Answer = Record | InvalidRecord


class AwaitedPredictions:
    """Follows the predictions and the dead letters of a pipeline's events; knows the `known` last ones."""

    def __init__(self, topic: str, events: str, known: int) -> None:
        self._topic = topic
        self._events = events
        self._places = LastKnown[tuple[int, int]](known)  # partition and offset
        self._refused = LastKnown[InvalidRecord](known)
        self._waiting: dict[bytes, list[asyncio.Future[Answer]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def take_predictions(self, records: Sequence[Record]) -> None:
        """Remember where predictions are, and answer those who wait for them."""
        self._places.add((_text(r.key), (r.partition, r.offset)) for r in records)
        for record in records:
            self._answer(record.key, record)

    def take_dead_letters(self, records: Sequence[Record]) -> None:
        """Answer those who wait for a prediction that will not come."""
        for record in records:
            try:
                letter = dead_letter.read(record)
            except InvalidRecord:
                continue
            if letter.origin == self._events and letter.reason != "duplicate":
                fault = InvalidRecord(letter.reason, letter.detail)
                self._refused.add([(_text(letter.key), fault)])
                self._answer(letter.key, fault)

    def expect(self, event_id: str) -> "asyncio.Future[Answer]":
        """Return a future of the answer to an event; call it before the event is published."""
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.setdefault(event_id.encode(), []).append(future)
        future.add_done_callback(lambda done: self._forget(event_id.encode(), done))
        return future

    def find(self, broker: Broker, event_id: str) -> Record | None:
        """Return the prediction for an event, None if there is none; an old one is searched for."""
        place = self._places.get(event_id)
        if place is not None:
            partition, offset = place
            for records in read_range(broker, TopicPartition(self._topic, partition), offset, offset + 1):
                return records[0]
        return self._searched(broker, event_id.encode())

    def refusal(self, event_id: str) -> InvalidRecord | None:
        """Return why an event became a dead letter lately, None if it did not."""
        return self._refused.get(event_id)

    def knows(self, event_id: str) -> bool:
        """Return whether a prediction for an event was seen lately, so that `find` is quick."""
        return self._places.get(event_id) is not None

    def _searched(self, broker: Broker, key: bytes) -> Record | None:
        for number, (start, end) in enumerate(broker.offsets(self._topic)):
            with closing(newest_first(broker, TopicPartition(self._topic, number), start, end)) as records:  # type: ignore[type-var]
                for record in records:
                    if record.key == key:
                        return record
        return None

    def _answer(self, key: bytes | None, answer: Answer) -> None:
        if key in self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._resolve, key, answer)

    def _resolve(self, key: bytes, answer: Answer) -> None:
        for future in list(self._waiting.get(key, ())):
            if not future.done():
                future.set_result(answer)

    def _forget(self, key: bytes, future: "asyncio.Future[Answer]") -> None:
        waiting = self._waiting.get(key, [])
        waiting.remove(future)
        if not waiting:
            self._waiting.pop(key, None)


def _text(key: bytes | None) -> str:
    return str(key or b"", "utf-8", "replace")
