"""Consumer of assigned Kafka partitions."""

import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from sys import intern

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
    "fetch.wait.max.ms": "100",
    # a pause discards what was prefetched
    "queued.min.messages": "20000",
    "queued.max.messages.kbytes": "16384",
    # how long a commit waits for the group coordinator, and `close` for the commit; the group is never joined
    "session.timeout.ms": "6000",
}
LONGEST_WAIT = 0.2  # seconds that a background wait delays `close`
_WAITS = ThreadPoolExecutor(max_workers=256, thread_name_prefix="wait")
_new = tuple.__new__  # skips the checks of a named tuple's constructor


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
        self._first: list[Message] = []  # what a wait received
        self._wait: Future[None] | None = None  # in progress in another thread
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
        self._assigned = {partition: Assigned(*partition) for partition in start}

    def poll(self, limit: int, timeout: float) -> list[Record]:
        deadline = time.monotonic() + timeout
        records = self._take(limit)
        while not records and (left := deadline - time.monotonic()) > 0:
            self.await_message(left)
            records = self._take(limit)
        self._health.raise_if_hopeless()
        if self._health.misses_topic:
            self._check_topics()
        return records

    def await_message(self, timeout: float) -> None:
        """Wait until the next poll may return records, at most `timeout` seconds."""
        if self._wait is not None:
            futures.wait([self._wait], timeout)
        elif not self._first:
            self._first = self._client.consume(1, timeout)  # waits until it has as many as requested

    def begin_wait(self) -> Future[None]:
        """Wait for a message in another thread; until it is done, polls return no records."""
        if self._wait is None:
            self._wait = _WAITS.submit(self._await_in_background)
        return self._wait

    def _await_in_background(self) -> None:
        self._first = self._first or self._client.consume(1, LONGEST_WAIT)

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
        if self._wait is not None:
            futures.wait([self._wait])
        self._client.close()
        # by its callback it refers to this object: until the garbage is collected, it would keep one of the
        # 1,024 thread-local storages of the process
        del self._client

    def _high(self, partition: TopicPartition) -> int:
        """Return the high watermark of the last fetch; negative before the first fetch."""
        high: int = self._client.get_watermark_offsets(self._assigned[partition], cached=True)[1]
        return high

    def _take(self, limit: int) -> list[Record]:
        if self._wait is not None:
            if not self._wait.done():
                return []
            self._wait.result()
            self._wait = None
        messages, self._first = self._first, []
        if len(messages) < limit:
            messages += self._client.consume(limit - len(messages), 0)
        records = self._accept(messages)
        if len(messages) < limit:
            self._positions.emptied()
        return records

    def _accept(self, messages: Sequence[Message]) -> list[Record]:
        """Return the records, and advance the positions, once for each run of records of one partition."""
        records: list[Record] = []
        topic, number, offset = "", -1, -1
        for message in messages:
            error = message.error()
            if error is not None:
                self._advance(topic, number, offset)
                offset = -1
                self._handle(error, message)
                continue
            if number != message.partition() or topic != message.topic():
                self._advance(topic, number, offset)
                topic, number = intern(message.topic()), message.partition()
            offset = message.offset()
            records.append(_record(topic, number, offset, message))
        self._advance(topic, number, offset)
        return records

    def _advance(self, topic: str, number: int, offset: int) -> None:
        """Set the position after a run of records; a negative offset means that there were none."""
        if offset >= 0:
            self._positions.next[TopicPartition(topic, number)] = offset + 1

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


def await_any(consumers: Sequence[KafkaConsumer], timeout: float) -> None:
    """Return when one of the consumers may have records, at the latest after `timeout` seconds."""
    if len(consumers) == 1:
        consumers[0].await_message(timeout)
    else:
        waits = [consumer.begin_wait() for consumer in consumers]
        futures.wait(waits, timeout, futures.FIRST_COMPLETED)


def _record(topic: str, number: int, offset: int, message: Message) -> Record:
    headers = message.headers()
    return _new(
        Record,
        (
            topic,
            number,
            offset,
            message.timestamp()[1],
            message.key(),
            message.value(),
            tuple(headers) if headers else (),
        ),
    )
