"""The predictor's intake: records in, checked questions and updates out, everything else to dead letters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flows.core.features.batch import Question, Update
from flows.core.features.moments import Moments
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import REPLAYED, dead_letter
from flows.core.stream.decode import Decoded, Decoder
from flows.core.stream.recent_ids import RecentIds
from flows.errors import InvalidRecord

_tuple = tuple.__new__  # makes a named tuple in a third of the time that its class takes

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
        self._models = models
        self._dead_letters = dead_letters
        self._lateness = lateness
        known = state or {"seen": {}, "newest": {}, "next": {}, "moments": [0]}
        self._topics = {
            topic: _Topic(
                decoder.decode,
                RecentIds(DUPLICATE_WINDOW, known["seen"].get(topic, ())),
                known["newest"].get(topic, 0),
                topic if topic in streams else "",
                topic == events,
            )
            for topic, decoder in decoders.items()
        }
        self._next: dict[str, int] = {topic: known["next"].get(topic, 0) for topic in streams}
        self._moments = Moments(lateness, known["moments"])

    def take(self, records: Sequence[Record]) -> Batch:
        """Sort the records out."""
        batch = Batch([], [], [])
        for record in records:
            if record.topic == self._models:
                batch.items.append(record)
                continue
            topic = self._topics[record.topic]
            if topic.stream:
                self._next[record.topic] = record.offset + 1
            try:
                self._admit(record, topic, batch)
            except InvalidRecord as fault:
                batch.dead.append(dead_letter(self._dead_letters, record, fault.reason, str(fault)))
        return batch

    def snapshot(self) -> dict[str, Any]:
        """The ids seen lately and the newest time, by topic, and how far the streams are read."""
        seen = {name: topic.seen.snapshot() for name, topic in self._topics.items()}
        newest = {name: topic.newest for name, topic in self._topics.items()}
        moments = self._moments.snapshot()
        return {"seen": seen, "newest": newest, "next": self._next, "moments": moments}

    def _admit(self, record: Record, topic: "_Topic", batch: Batch) -> None:
        event_id, time, payload = topic.decode(record)
        replay = _replay_of(record) if record.headers else None
        if (replay or event_id) in topic.seen:
            raise InvalidRecord("duplicate", f"a record {event_id!r} was taken in before")
        if time > topic.newest:
            topic.newest = time
        elif time < topic.newest - self._lateness:
            behind = (topic.newest - time) / 1000
            raise InvalidRecord(
                "late",
                f"its event time is {behind:g} s behind the newest of {record.topic!r}; "
                f"{self._lateness / 1000:g} s are allowed",
            )
        topic.seen.add(event_id)
        if replay is not None:
            topic.seen.add(replay)
        if topic.is_events:
            moment, read = self._moments.take(time), tuple(self._next.values())
            question = (event_id, time, payload, moment, read, topic.stream)
            batch.items.append(_tuple(Question, question))
            batch.records.append(record)
        else:
            batch.items.append(_tuple(Update, (record.topic, event_id, time, payload)))


def _replay_of(record: Record) -> str | None:
    """What stands for the dead letter that was sent again among the ids seen; it is no id of an event."""
    for name, value in record.headers:
        if name == REPLAYED and value:
            return f"\0{value.decode(errors='backslashreplace')}"
    return None


@dataclass(slots=True)
class _Topic:
    """One input topic: how its records are decoded, and what was seen of it."""

    decode: Callable[[Record], Decoded]
    seen: RecentIds
    newest: int  # event time (ms)
    stream: str  # its own name if features are made of it, or empty
    is_events: bool
