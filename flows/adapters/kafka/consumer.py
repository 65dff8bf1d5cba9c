"""Consumer of assigned Kafka partitions."""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Assigned

from flows.adapters.kafka import topics as kafka_topics
from flows.adapters.kafka.client import open_client
from flows.adapters.kafka.errors import DENIED
from flows.adapters.kafka.health import Health, logger
from flows.adapters.kafka.topics import PATIENCE
from flows.core.stream.broker import Record, TopicPartition
from flows.core.stream.positions import Positions
from flows.errors import AccessDenied, OffsetExpired

CONSUMER = {
    # with the default, a consumer reads at most `queued.min.messages` a second
    "fetch.queue.backoff.ms": "2",
    # a resumed partition waits for the fetch in progress
    "fetch.wait.max.ms": "20",
    # a pause discards what was prefetched
    "queued.min.messages": "20000",
    "queued.max.messages.kbytes": "16384",
    # how long a commit waits for the group coordinator, and `close` for the commit; the group is never joined
    "session.timeout.ms": "6000",
}


class KafkaConsumer:
    """Reads the partitions of `start` from the offsets given there; `ends` are their end offsets now.

    Positions are the consumer's own. Offsets committed to the group are for lag tools only.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        health: Health,
        group: str,
        start: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self._health = health
        self._group = group
        self._commits = False
        self._group_denial: AccessDenied | None = None
        self._positions = Positions(start, ends)
        required = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "on_commit": self._committed,
        }
        self._client = open_client(Consumer, {**CONSUMER, **settings, **required}, health)
        self._client.assign([Assigned(*partition, offset) for partition, offset in start.items()])

    def poll(self, limit: int, timeout: float) -> list[Record]:
        deadline = time.monotonic() + timeout
        records = self._take(limit, 0)
        while not records and (left := deadline - time.monotonic()) > 0:
            # consume() waits until it has as many as requested, so wait for one, then take what is there
            records = self._take(1, left)
            if records and limit > 1:
                records += self._take(limit - 1, 0)
        self._health.raise_if_hopeless()
        if self._health.misses_topic:
            self._check_topics()
        return records

    def has_backlog(self, partition: TopicPartition) -> bool:
        return self._positions.has_backlog(partition, self._high(partition))

    def position(self, partition: TopicPartition) -> int:
        return self._positions.next[partition]

    def held_back(self, partition: TopicPartition) -> int:
        return self._positions.held_back(partition, self._high(partition))

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._client.pause([Assigned(*partition) for partition in partitions])
        for partition in partitions:
            self._positions.forget_end(partition)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._client.resume([Assigned(*partition) for partition in partitions])

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if not offsets:
            return
        self._commits = True
        self._raise_if_group_is_denied()
        try:
            self._client.commit(
                offsets=[Assigned(*partition, offset) for partition, offset in offsets.items()],
                asynchronous=True,
            )
        except KafkaException as error:
            self._committed(error.args[0], [])

    def close(self) -> None:
        self._client.close()

    def _high(self, partition: TopicPartition) -> int:
        """Return the high watermark of the last fetch; negative before the first fetch."""
        high: int = self._client.get_watermark_offsets(Assigned(*partition), cached=True)[1]
        return high

    def _take(self, limit: int, timeout: float) -> list[Record]:
        messages = self._client.consume(limit, timeout)
        records = self._accept(messages)
        if len(messages) < limit:
            self._positions.emptied()
        return records

    def _accept(self, messages: Sequence[Message]) -> list[Record]:
        records = []
        positions = self._positions.next
        for message in messages:
            error = message.error()
            if error is not None:
                self._handle(error, message)
                continue
            partition = TopicPartition(message.topic(), message.partition())
            offset = message.offset()
            positions[partition] = offset + 1
            headers = message.headers()
            records.append(
                Record(
                    *partition,
                    offset,
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    tuple(headers) if headers else (),
                )
            )
        return records

    def _handle(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._positions.ended(TopicPartition(message.topic(), message.partition()), message.offset())
        elif code == KafkaError._AUTO_OFFSET_RESET:
            raise self._expired(TopicPartition(message.topic(), message.partition()))
        elif code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            self._group_denial = self._health.denial(error, "READ", group=self._group)
            self._raise_if_group_is_denied()
        elif code in DENIED:
            raise self._health.denial(error, "READ", topic=message.topic() or "")
        else:
            self._health.report(error)

    def _raise_if_group_is_denied(self) -> None:
        """Raise once the consumer commits: librdkafka looks the group up even if nothing is committed."""
        if self._commits and self._group_denial is not None:
            raise self._group_denial

    def _committed(self, error: KafkaError | None, partitions: Sequence[Assigned]) -> None:
        """Handle the result of a commit (`on_commit`).

        A denied commit is fatal, since the flow's lag would be invisible; other failures are logged.
        """
        if error is None:
            return
        if error.code() in DENIED:
            topic = partitions[0].topic if partitions else ""
            self._health.deny(self._health.denial(error, "READ", topic=topic, group=self._group))
        else:
            logger.warning(
                "offsets of group %s were not committed, so its lag looks too large: %s",
                self._group,
                error.str(),
            )

    def _check_topics(self) -> None:
        """Raise if a topic is gone; librdkafka reports that once, at times wrongly while brokers restart."""
        try:
            counts = kafka_topics.listed(self._client, PATIENCE)
        except KafkaException:
            return  # the next poll checks again
        self._health.misses_topic = False
        kafka_topics.check_exists(self._client, self._health, counts, list(self._positions.next))

    def _expired(self, partition: TopicPartition) -> OffsetExpired:
        with self._health.explained(self._client, "DESCRIBE", topic=partition.topic):
            first, end = self._client.get_watermark_offsets(Assigned(*partition), timeout=PATIENCE)
        topic, number = partition
        return OffsetExpired(
            f"offset {self._positions.next[partition]} of {topic}[{number}] is not in Kafka, which holds "
            f"offsets {first} to {end} of it: retention removed records, or the topic was recreated"
        )
