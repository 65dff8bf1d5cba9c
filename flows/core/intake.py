"""The predictor's intake: records in, checked questions and updates out, everything else to dead letters."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flows.core.broker import Outgoing, Record
from flows.core.deadletter import dead_letter
from flows.core.decode import Decoder
from flows.core.features import Question, Update
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
    """Decodes one slot's records and knows which ids of each topic it has seen.

    `decoders` has one for each input topic; the records of `models` pass undecoded.
    """

    def __init__(
        self,
        decoders: Mapping[str, Decoder],
        events: str,
        models: str,
        dead_letters: str,
        seen: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._decoders = decoders
        self._events = events
        self._models = models
        self._dead_letters = dead_letters
        known = seen or {}
        self._seen = {topic: RecentIds(DUPLICATE_WINDOW, known.get(topic, ())) for topic in decoders}

    def take(self, records: Sequence[Record]) -> Batch:
        """Sort the records out."""
        batch = Batch([], [], [])
        for record in records:
            if record.topic == self._models:
                batch.items.append(record)
                continue
            try:
                self._admit(record, batch)
            except InvalidRecord as fault:
                batch.dead.append(dead_letter(self._dead_letters, record, fault.reason, str(fault)))
        return batch

    def snapshot(self) -> dict[str, list[str]]:
        """The ids seen lately, by topic."""
        return {topic: seen.snapshot() for topic, seen in self._seen.items()}

    def _admit(self, record: Record, batch: Batch) -> None:
        event_id, time, payload = self._decoders[record.topic].decode(record)
        if not self._seen[record.topic].add(event_id):
            raise InvalidRecord("duplicate", f"a record {event_id!r} was taken in before")
        if record.topic == self._events:
            batch.items.append(Question(event_id, time, payload))
            batch.records.append(record)
        else:
            batch.items.append(Update(record.topic, event_id, time, payload))
