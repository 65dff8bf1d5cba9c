"""A producer that outlives an outage of its broker, as the flows do."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from flows.core.stream.broker import Broker, Outgoing, Record, TopicPartition, read_range
from flows.errors import BrokerAway, Unacknowledged
from flows.host.patience import Patience, Stall

T = TypeVar("T")

_RETRY = 0.5  # seconds between questions to a broker that is away
_AWAY = 600.0  # seconds that it may be away

Ends = dict[TopicPartition, int]
Content = tuple[str, bytes | None, bytes | None]


class SteadyProducer:
    """Writes to `topics`, each key to one partition.

    Records that were not acknowledged are looked for there, and those that are missing are sent again. So
    nothing is lost and nothing is written twice when the broker is killed. An idempotent producer alone does
    not give that: `flows.adapters.kafka.broker` says why.
    """

    def __init__(self, broker: Broker, topics: Iterable[str], patience: Patience) -> None:
        self._broker = broker
        self._patience = patience
        self._producer = broker.producer()
        self._ends: Ends = {
            TopicPartition(topic, number): end
            for topic in topics
            for number, (_, end) in enumerate(broker.offsets(topic))
        }

    def send(self, records: Sequence[Outgoing]) -> Ends:
        """Write `records` in order; the offsets that follow the last record in each partition written."""
        written: Ends = {}
        while records:
            try:
                ends, records = self._producer.send(records), ()
            except (BrokerAway, Unacknowledged):
                ends, records = self._recovered(records)
            self._ends |= ends  # what comes next is looked for behind these
            written |= ends
        return written

    def close(self) -> None:
        """Close the producer; everything is acknowledged."""
        self._producer.close()

    def _recovered(self, records: Sequence[Outgoing]) -> tuple[Ends, list[Outgoing]]:
        """How far those of the records go that came to the log, and the others."""
        found, ends = answered(self._patience, lambda: self._found(records))
        self._producer.close()
        self._producer = self._broker.producer()
        return ends, [record for record in records if not _take(found, _content(record))]

    def _found(self, records: Sequence[Outgoing]) -> tuple[Counter[Content], Ends]:
        """Which of the records are in the log behind what was acknowledged, and how far they go."""
        wanted, found, written = Counter(map(_content, records)), Counter[Content](), Ends()
        for topic in {record.topic for record in records}:
            for number, (_, end) in enumerate(self._broker.offsets(topic)):
                partition = TopicPartition(topic, number)
                for batch in read_range(self._broker, partition, self._ends.get(partition, 0), end):
                    for record in batch:
                        if _take(wanted, content := _content(record)):
                            found[content] += 1
                            written[partition] = record.offset + 1
        return found, written


def answered(patience: Patience, question: Callable[[], T]) -> T:
    """The answer to a question to the broker, which is asked again while the broker is away."""
    while True:
        try:
            return question()
        except BrokerAway as error:
            away = Stall(str(error), _AWAY)
            patience.wait(_RETRY, lambda: away)  # noqa: B023 (called at once)


def _content(record: Record | Outgoing) -> Content:
    return (record.topic, record.key, record.value)


def _take(counts: Counter[Content], content: Content) -> bool:
    """Take one such content out; whether there was one."""
    if counts[content] <= 0:
        return False
    counts[content] -= 1
    return True
