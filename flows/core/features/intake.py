"""The intake of the predict flow: records become checked questions and updates, or dead letters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

from flows.core.features.batch import Question, Update
from flows.core.features.moments import Moments
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import REPLAYED, dead_letter
from flows.core.stream.decode import Decoder
from flows.core.stream.recent_ids import RecentIds
from flows.errors import InvalidRecord

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does

DUPLICATE_WINDOW = 50_000  # ids per topic that are remembered to recognize duplicates


class Batch(NamedTuple):
    """The result of the intake for a batch of records, in order.

    Records of the models topic are among the `items` unchanged. `records` are those of the questions.
    """

    items: list[Update | Question | Record]
    records: list[Record]
    dead: list[Outgoing]


class Intake:
    """Decodes one slot's records, and rejects late records and duplicates.

    `decoders` maps each input topic to its decoder; records of `models` pass undecoded. `streams` are the
    topics that features aggregate, which may include the events. A record is late if it is more than
    `lateness` (ms) behind the newest of its topic. `state` comes from `snapshot`.
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
                decoder,
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
        """Decode and check records; return them as a batch."""
        return self._whole_batch(records) or self._one_by_one(records)

    def snapshot(self) -> dict[str, Any]:
        """Return the recent ids and the newest time by topic, and the next offset of each stream."""
        seen = {name: topic.seen.snapshot() for name, topic in self._topics.items()}
        newest = {name: topic.newest for name, topic in self._topics.items()}
        moments = self._moments.snapshot()
        return {"seen": seen, "newest": newest, "next": self._next, "moments": moments}

    def _whole_batch(self, records: Sequence[Record]) -> Batch | None:
        """Return the batch of events that are all valid, new and in time; None for any other records."""
        topic = self._topics.get(records[0].topic) if records else None
        if topic is None or not topic.is_events or len({record.topic for record in records}) > 1:
            return None
        is_replay = any(_replay_of(record) for record in records if record.headers)
        columns = None if is_replay else topic.decoder.decode_batch(records)
        if columns is None or not topic.admit_batch(columns.ids, columns.times, self._lateness):
            return None
        ids, times, payloads = columns
        read, moments = self._offsets_read(records, topic), self._moments.take_batch(times)
        questions = zip(ids, times, payloads, moments, read, repeat(topic.stream))
        return Batch([_tuple(Question, question) for question in questions], list(records), [])

    def _offsets_read(self, records: Sequence[Record], topic: "_Topic") -> Iterable[tuple[int, ...]]:
        """Return what was read of each stream when it was each event's turn; all are of `topic`."""
        offsets = self._next
        if not topic.stream:
            return repeat(tuple(offsets.values()))
        at = list(offsets).index(topic.stream)
        before, after = (*offsets.values(),)[:at], (*offsets.values(),)[at + 1 :]
        offsets[topic.stream] = records[-1].offset + 1
        return [(*before, record.offset + 1, *after) for record in records]

    def _one_by_one(self, records: Sequence[Record]) -> Batch:
        batch = Batch([], [], [])
        for record in records:
            topic = self._topics.get(record.topic)
            if topic is None:  # of `models`
                batch.items.append(record)
                continue
            if topic.stream:
                self._next[topic.stream] = record.offset + 1
            try:
                self._admit(record, topic, batch)
            except InvalidRecord as fault:
                batch.dead.append(dead_letter(self._dead_letters, record, fault.reason, str(fault)))
        return batch

    def _admit(self, record: Record, topic: "_Topic", batch: Batch) -> None:
        event_id, time, payload = topic.decoder.decode(record)
        replay = _replay_of(record)
        if (replay or event_id) in topic.seen:
            raise InvalidRecord("duplicate", f"a record with the id {event_id!r} was accepted before")
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
    """Return the key under which a replayed dead letter is remembered; never a valid event id."""
    for name, value in record.headers:
        if name == REPLAYED and value:
            return f"\0{value.decode(errors='backslashreplace')}"
    return None


@dataclass(slots=True)
class _Topic:
    """One input topic: its decoder, and what was seen of it."""

    decoder: Decoder
    seen: RecentIds
    newest: int  # event time (ms)
    stream: str  # the topic's name if features aggregate it, otherwise empty
    is_events: bool

    def admit_batch(self, ids: Sequence[str], times: Sequence[int], lateness: int) -> bool:
        """Remember records that are new and in time; return False, and change nothing, if some may not be."""
        newest = max(self.newest, *times)
        if min(times) < newest - lateness or not self.seen.add_batch(ids):
            return False
        self.newest = newest
        return True
