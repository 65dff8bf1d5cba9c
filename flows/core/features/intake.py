"""The intake of the predict flow: records become checked questions and updates, or dead letters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from flows.core.features.batch import Question, Update
from flows.core.features.moments import Moments
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import REPLAYED, dead_letter
from flows.core.stream.decode import Decoded, DecodedBatch, Decoder
from flows.core.stream.recent_ids import RecentIds
from flows.errors import InvalidRecord

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does

DUPLICATE_WINDOW = 50_000  # ids per topic that are remembered to recognize duplicates
COLUMNS_FROM = 4  # records of a topic; fewer of them are decoded one by one as fast

_topic_of, _headers_of = itemgetter(0), itemgetter(6)  # of a record


class Batch(NamedTuple):
    """The result of the intake for a batch of records, in order.

    `questions` are those among the `items`, and `records` theirs. `models` are the records of the models
    topic, unread, each with the number of questions before it. `newest` is the newest event time (ms) of the
    items, 0 without items.
    """

    items: list[Update | Question]
    questions: list[Question]
    records: list[Record]
    models: list[tuple[int, Record]]
    dead: list[Outgoing]
    newest: int = 0


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
        known = state or {"seen": {}, "newest": {}, "next": {}, "moments": [0]}
        self._topics = {
            topic: _Topic(
                decoder,
                lateness,
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
        topics = set(map(_topic_of, records))
        only = self._topics.get(records[0].topic) if len(topics) == 1 else None
        if only is not None and only.is_events:
            return self._events(records, only) or self._mixed(records)
        return self._mixed(records)

    def snapshot(self) -> dict[str, Any]:
        """Return the recent ids and the newest time by topic, and the next offset of each stream."""
        seen = {name: topic.seen.snapshot() for name, topic in self._topics.items()}
        newest = {name: topic.newest for name, topic in self._topics.items()}
        moments = self._moments.snapshot()
        return {"seen": seen, "newest": newest, "next": self._next, "moments": moments}

    def _events(self, records: Sequence[Record], topic: "_Topic") -> Batch | None:
        """Return the batch of events that are all valid, new and in time; None for other events."""
        columns = topic.admit_all(records)
        if columns is None:
            return None
        ids, times, payloads = columns
        read, moments = self._offsets_read(records, topic), self._moments.take_batch(times)
        rows = zip(ids, times, payloads, moments, read, repeat(topic.stream))
        questions = list(map(_tuple, repeat(Question), rows))
        return Batch([*questions], questions, [*records], [], [], max(times))

    def _offsets_read(self, records: Sequence[Record], topic: "_Topic") -> Iterable[tuple[int, ...]]:
        """Return what was read of each stream when it was each event's turn; all are of `topic`."""
        offsets = self._next
        if not topic.stream:
            return repeat(tuple(offsets.values()))
        at = list(offsets).index(topic.stream)
        before, after = (*offsets.values(),)[:at], (*offsets.values(),)[at + 1 :]
        offsets[topic.stream] = records[-1].offset + 1
        return [(*before, record.offset + 1, *after) for record in records]

    def _mixed(self, records: Sequence[Record]) -> Batch:
        """Return the batch of records of any topics."""
        batch = Batch([], [], [], [], [])
        admitted = self._admitted(records)
        for record in records:
            topic = self._topics.get(record.topic)
            if topic is None:  # of `models`
                batch.models.append((len(batch.questions), record))
                continue
            if topic.stream:
                self._next[topic.stream] = record.offset + 1
            found = next(admitted[record.topic]) if record.topic in admitted else topic.admit_one(record)
            if isinstance(found, InvalidRecord):
                batch.dead.append(dead_letter(self._dead_letters, record, found.reason, str(found)))
            else:
                self._add(batch, record, topic, found)
        return Batch(*batch[:-1], max([item.time for item in batch.items], default=0))

    def _add(self, batch: Batch, record: Record, topic: "_Topic", decoded: Decoded) -> None:
        """Add a record to its batch, as a question or as an update."""
        event_id, time, payload = decoded
        if not topic.is_events:
            batch.items.append(_tuple(Update, (record.topic, event_id, time, payload)))
            return
        read = tuple(self._next.values())
        question = _tuple(Question, (event_id, time, payload, self._moments.take(time), read, topic.stream))
        batch.items.append(question)
        batch.questions.append(question)
        batch.records.append(record)

    def _admitted(self, records: Sequence[Record]) -> dict[str, Iterator[Decoded | InvalidRecord]]:
        """Return the decoded records of each input topic in order, or their faults; no topic with a few."""
        if len(records) < COLUMNS_FROM:
            return {}
        of_topic: dict[str, list[Record]] = {name: [] for name in self._topics}
        for record in records:
            if record.topic in of_topic:
                of_topic[record.topic].append(record)
        return {
            name: iter(self._topics[name].admit(found))
            for name, found in of_topic.items()
            if len(found) >= COLUMNS_FROM
        }


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
    lateness: int  # ms
    seen: RecentIds
    newest: int  # event time (ms)
    stream: str  # the topic's name if features aggregate it, otherwise empty
    is_events: bool

    def admit(self, records: Sequence[Record]) -> Sequence[Decoded | InvalidRecord]:
        """Decode and remember records; return each of them decoded, or its fault."""
        columns = self.admit_all(records)
        if columns is None:
            return [self.admit_one(record) for record in records]
        return list(map(_tuple, repeat(Decoded), zip(*columns, strict=True)))

    def admit_all(self, records: Sequence[Record]) -> DecodedBatch | None:
        """Decode and remember records that are valid, new and in time.

        Return None, and change nothing, if one of them may be anything else.
        """
        if any(map(_headers_of, records)) and any(map(_replay_of, records)):
            return None
        columns = self.decoder.decode_batch(records)
        if columns is None:
            return None
        newest = max(self.newest, *columns.times)
        if min(columns.times) < newest - self.lateness or not self.seen.add_batch(columns.ids):
            return None
        self.newest = newest
        return columns

    def admit_one(self, record: Record) -> Decoded | InvalidRecord:
        """Decode and remember a record; return it decoded, or its fault."""
        try:
            decoded = self.decoder.decode(record)
            self._remember(record, decoded)
        except InvalidRecord as fault:
            return fault
        return decoded

    def _remember(self, record: Record, decoded: Decoded) -> None:
        """Remember a record; raises `InvalidRecord` for a duplicate and for a late one."""
        event_id, time, _ = decoded
        replay = _replay_of(record)
        if (replay or event_id) in self.seen:
            raise InvalidRecord("duplicate", f"a record with the id {event_id!r} was accepted before")
        if time > self.newest:
            self.newest = time
        elif time < self.newest - self.lateness:
            behind = (self.newest - time) / 1000
            raise InvalidRecord(
                "late",
                f"its event time is {behind:g} s behind the newest of {record.topic!r}; "
                f"{self.lateness / 1000:g} s are allowed",
            )
        self.seen.add(event_id)
        if replay is not None:
            self.seen.add(replay)
