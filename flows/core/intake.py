"""The predictor's intake: records in, checked questions and updates out, everything else to dead letters."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flows.core.broker import Outgoing, Record
from flows.core.deadletter import dead_letter
from flows.core.decode import Decoder
from flows.core.features import Question, Update
from flows.core.moments import Moments
from flows.core.recent import RecentIds
from flows.errors import InvalidRecord

DUPLICATE_WINDOW = 50_000  # records of a topic among whose ids a duplicate is recognised


class Batch(NamedTuple):
    """A batch of records after the intake, in order.

    A record of the models topic stands as it is among the `items`. `records` are those of the questions.
    """

    items: list[Update | Question | Record]
    records: list[Record]
    dead: list[Outgoing]


class Intake:
    """Decodes one slot's records, refuses what is late, and knows which ids of each topic it has seen.

    `decoders` has one for each input topic; the records of `models` pass undecoded. `streams` are the topics
    whose records features are made of; the events may be among them. A record further behind the newest one
    of its topic than `lateness` (ms) is late. `state` is what `snapshot` gave.
    """

    def __init__(
        self,
        decoders: Mapping[str, Decoder],
        events: str,
        models: str,
        dead_letters: str,
        streams: Sequence[str],
        lateness: int,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._decoders = decoders
        self._events = events
        self._models = models
        self._dead_letters = dead_letters
        self._streams = frozenset(streams)
        self._lateness = lateness
        known = state or {"seen": {}, "newest": {}, "next": {}, "moments": [0]}
        self._seen = {topic: RecentIds(DUPLICATE_WINDOW, known["seen"].get(topic, ())) for topic in decoders}
        self._newest: dict[str, int] = {topic: known["newest"].get(topic, 0) for topic in decoders}
        self._next: dict[str, int] = {topic: known["next"].get(topic, 0) for topic in streams}
        self._moments = Moments(lateness, known["moments"])

    def take(self, records: Sequence[Record]) -> Batch:
        """Sort the records out."""
        batch = Batch([], [], [])
        for record in records:
            if record.topic == self._models:
                batch.items.append(record)
                continue
            if record.topic in self._streams:
                self._next[record.topic] = record.offset + 1
            try:
                self._admit(record, batch)
            except InvalidRecord as fault:
                batch.dead.append(dead_letter(self._dead_letters, record, fault.reason, str(fault)))
        return batch

    def snapshot(self) -> dict[str, Any]:
        """The ids seen lately and the newest time, by topic, and how far the streams are read."""
        seen = {topic: seen.snapshot() for topic, seen in self._seen.items()}
        moments = self._moments.snapshot()
        return {"seen": seen, "newest": self._newest, "next": self._next, "moments": moments}

    def _admit(self, record: Record, batch: Batch) -> None:
        topic = record.topic
        event_id, time, payload = self._decoders[topic].decode(record)
        if event_id in self._seen[topic]:
            raise InvalidRecord("duplicate", f"a record {event_id!r} was taken in before")
        self._check_lateness(topic, time)
        self._seen[topic].add(event_id)
        if topic in self._streams:
            batch.items.append(Update(topic, event_id, time, payload))
        if topic == self._events:
            read = tuple(self._next.values())
            batch.items.append(Question(event_id, time, payload, self._moments.take(time), read))
            batch.records.append(record)

    def _check_lateness(self, topic: str, time: int) -> None:
        newest = self._newest[topic]
        if time > newest:
            self._newest[topic] = time
        elif time < newest - self._lateness:
            behind = (newest - time) / 1000
            raise InvalidRecord(
                "late",
                f"its event time is {behind:g} s behind the newest of {topic!r}; "
                f"{self._lateness / 1000:g} s are allowed",
            )
