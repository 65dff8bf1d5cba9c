"""A producer that survives an outage of its broker without loss and without duplicates."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from flows.core.stream.broker import Broker, Outgoing, Record, TopicPartition, read_range
from flows.errors import BrokerAway, Unacknowledged
from flows.host.patience import Patience, Stall
from flows.jobs.publishing.pace import Ends

T = TypeVar("T")

_RETRY = 0.5  # seconds between two requests to a broker that is away
_AWAY = 600.0  # seconds to wait for it, at most

Content = tuple[str, bytes | None, bytes | None]


class SteadyProducer:
    """Writes to `topics`; records with one key go to one partition.

    After a failed send it reads the log behind the last acknowledged offsets, and sends the records that are
    missing there. An idempotent producer alone is not enough: see `flows.adapters.kafka.broker`.
    """

    def __init__(self, broker: Broker, topics: Iterable[str], patience: Patience) -> None:
        self._broker = broker
        self._patience = patience
        self._producer = broker.producer()
        self._acknowledged: Ends = {
            TopicPartition(topic, number): end
            for topic in topics
            for number, (_, end) in enumerate(broker.offsets(topic))
        }

    def send(self, records: Sequence[Outgoing]) -> Ends:
        """Write `records` in order; return the offset after the last one, by partition."""
        written: Ends = {}
        while records:
            try:
                ends = self._producer.send(records)
                records = ()
            except (BrokerAway, Unacknowledged):
                ends, records = self._recover(records)
            self._acknowledged |= ends
            written |= ends
        return written

    def close(self) -> None:
        """Close the producer; every record is acknowledged."""
        self._producer.close()

    def _recover(self, records: Sequence[Outgoing]) -> tuple[Ends, list[Outgoing]]:
        """Open a new producer; return where the written records end, and the records that are missing."""
        found, ends = retry_while_away(self._patience, lambda: self._find(records))
        self._producer.close()
        self._producer = self._broker.producer()
        missing = []
        for record in records:
            content = _content(record)
            if found[content] > 0:
                found[content] -= 1
            else:
                missing.append(record)
        return ends, missing

    def _find(self, records: Sequence[Outgoing]) -> tuple[Counter[Content], Ends]:
        """Count the records that are in the log behind the acknowledged ones, and return where they end."""
        unseen, found, ends = Counter(map(_content, records)), Counter[Content](), Ends()
        for topic in {record.topic for record in records}:
            for number, (_, end) in enumerate(self._broker.offsets(topic)):
                partition = TopicPartition(topic, number)
                for batch in read_range(self._broker, partition, self._acknowledged.get(partition, 0), end):
                    for record in batch:
                        content = _content(record)
                        if unseen[content] > 0:
                            unseen[content] -= 1
                            found[content] += 1
                            ends[partition] = record.offset + 1
        return found, ends


def retry_while_away(patience: Patience, request: Callable[[], T]) -> T:
    """Return the result of `request`, repeated while the broker is away.

    Raises `DriftlineError` when the broker is away for ten minutes.
    """
    while True:
        try:
            return request()
        except BrokerAway as error:
            away = Stall(str(error), _AWAY)
            patience.wait(_RETRY, lambda: away)  # noqa: B023 (called at once)


def _content(record: Record | Outgoing) -> Content:
    return (record.topic, record.key, record.value)
