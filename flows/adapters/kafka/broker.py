"""Kafka behind the engine's broker interface, through confluent-kafka (librdkafka)."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka import TopicPartition as Assigned
from confluent_kafka.admin import AdminClient, OffsetSpec

from flows.adapters.kafka import topics as kafka_topics
from flows.adapters.kafka.errors import DENIED, MOVING, SILENCE, Health, logger, principal
from flows.adapters.kafka.topics import PATIENCE, SOON
from flows.core.stream.broker import Outgoing, Record, TopicPartition, TopicSpec
from flows.core.stream.positions import Positions
from flows.errors import (
    AccessDenied,
    ConfigError,
    DeliveryError,
    OffsetExpired,
    RecordTooLarge,
    Unacknowledged,
)

T = TypeVar("T")

ISOLATION = "isolation.level"
CLIENT = {
    "client.id": "driftline",
    "reconnect.backoff.max.ms": "1000",
    # librdkafka logs each failed attempt to connect; `Health` hears of the same and repeats less
    "log_level": "2",
    # or a question about a topic that is missing would make one, with the broker's defaults
    "allow.auto.create.topics": "false",
}
CONSUMER = {
    # the defaults cap a consumer at `queued.min.messages` a second
    "fetch.queue.backoff.ms": "2",
    # a resumed partition waits for the fetch under way
    "fetch.wait.max.ms": "20",
    # what is fetched ahead is thrown away by a pause
    "queued.min.messages": "20000",
    "queued.max.messages.kbytes": "16384",
    # how long a commit waits for the group's coordinator, and `close` for the commit: it joins no group
    "session.timeout.ms": "6000",
}
REMEMBERED = 12 * 3_600_000  # ms; half of what Kafka's producer.id.expiration.ms is by default
QUEUE = 32 * 2**10  # KiB that a producer holds at most; librdkafka's default is a gigabyte
PRODUCER = {
    "compression.type": "lz4",
    "delivery.timeout.ms": "120000",
    "message.max.bytes": "1500000",  # a dead letter is larger than its record, which may have Kafka's 1 MiB
}
SECRET = ("password", "secret", "token", "key.pem", "sasl.jaas", "oauthbearer.config")
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
IN_DOUBT = PURGED | {KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT}


class KafkaBroker:
    """The Kafka cluster at `servers` (`host:port[,host:port]`).

    `options` go to every client as librdkafka names them; they may hold secrets and are never shown.
    """

    def __init__(self, servers: str, options: Mapping[str, str]) -> None:
        self._settings = {**CLIENT, **options, "bootstrap.servers": servers}
        protocol = options.get("security.protocol", "plaintext")
        self._health = Health(servers, principal(options), protocol)
        self._admin = _client(AdminClient, self._settings, self._health)
        self._readers: dict[str, Any] = {}

    def uncommitted(self) -> "KafkaBroker":
        other = copy(self)
        other._settings = {**self._settings, ISOLATION: "read_uncommitted"}
        return other

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        return kafka_topics.create(self._admin, self._health, topics)

    def delete_topics(self, topics: Sequence[str]) -> None:
        kafka_topics.delete(self._admin, self._health, topics)

    def add_partitions(self, topic: str, partitions: int) -> None:
        kafka_topics.add_partitions(self._admin, self._health, topic, partitions)

    def topics(self) -> dict[str, int]:
        return kafka_topics.visible(self._admin, self._health)

    def existing(self, topics: Sequence[str]) -> dict[str, int]:
        return kafka_topics.existing(self._admin, self._health, topics)

    def topic_settings(self, topic: str) -> dict[str, str]:
        return kafka_topics.settings(self._admin, self._health, topic)

    def offsets(self, topic: str) -> list[tuple[int, int]]:
        partitions = self._partitions(topic)
        first = self._list_offsets(partitions, OffsetSpec.earliest())
        end = self._list_offsets(partitions, OffsetSpec.latest())
        return [(first[partition], end[partition]) for partition in partitions]

    def offset_at(self, partition: TopicPartition, timestamp: int) -> int:
        self._check_exists([partition])
        found = self._list_offsets([partition], OffsetSpec.for_timestamp(timestamp))[partition]
        return found if found >= 0 else self._list_offsets([partition], OffsetSpec.latest())[partition]

    def committed(self, group: str, topic: str) -> dict[int, int]:
        wanted = [Assigned(*partition) for partition in self._partitions(topic)]
        found = self._ask(lambda: self._group_offsets(group, wanted), "DESCRIBE", topic=topic, group=group)
        return {item.partition: item.offset for item in found if item.offset >= 0}

    def consumer(self, group: str, start: Mapping[TopicPartition, int]) -> "KafkaConsumer":
        self._check_exists(list(start))
        ends = self._list_offsets(list(start), OffsetSpec.latest())
        return KafkaConsumer(self._settings, self._health.for_another_client(), group, start, ends)

    def producer(self) -> "KafkaProducer":
        return KafkaProducer(self._settings, self._health.for_another_client())

    def members(self, group: str) -> list[tuple[str, str]]:
        """The client id and the address of each member of the group.

        Not by the admin client's newer request, which can end the process when the connection to the group's
        coordinator is lost (https://github.com/confluentinc/librdkafka/issues/4605).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = self._ask(lambda: self._admin.list_groups(group, PATIENCE), "DESCRIBE", group=group)
        return [(member.client_id, member.client_host) for each in found for member in each.members]

    def check_group(self, group: str) -> None:
        """Raise `AccessDenied` where the group is hidden: Kafka then shows it without members."""
        self._ask(lambda: self._group_answer(group, [Assigned("no-topic", 0)]), "DESCRIBE", group=group)

    def denial(self, error: KafkaError, operation: str, *, topic: str, group: str) -> AccessDenied:
        """As `Health.denial`."""
        return self._health.denial(error, operation, topic=topic, group=group)

    def member(self, group: str, options: Mapping[str, Any]) -> Consumer:
        """A client with these options that is to join the group."""
        own = {"group.id": group, "enable.auto.commit": False}
        return _client(Consumer, {**self._settings, **own, **options}, self._health.for_another_client())

    def close(self) -> None:
        """Let go of the clients that read groups; librdkafka frees an admin client itself."""
        while self._readers:
            self._readers.popitem()[1].close()

    def _reader(self, group: str) -> Any:
        """A client that may ask for the offsets of `group`, which it never joins.

        The admin client's own request ends the process while the group's coordinator is new or on the move
        (https://github.com/confluentinc/librdkafka/issues/5040).
        """
        if group not in self._readers:
            self._readers[group] = self.member(group, {})
        return self._readers[group]

    @property
    def _isolation(self) -> IsolationLevel:
        """That of the consumers, so that an end is where they end."""
        is_uncommitted = self._settings.get(ISOLATION) == "read_uncommitted"
        return IsolationLevel.READ_UNCOMMITTED if is_uncommitted else IsolationLevel.READ_COMMITTED

    def _group_offsets(self, group: str, partitions: Sequence[Assigned]) -> list[Assigned]:
        found = self._group_answer(group, partitions)
        for item in found:
            if item.error is not None and item.error.code() in DENIED:
                raise KafkaException(item.error)
        return found

    def _group_answer(self, group: str, partitions: Sequence[Assigned]) -> list[Assigned]:
        """Return what the group has committed; a refusal is a message of the client, after a timeout."""
        reader = self._reader(group)
        try:
            return _offsets_of(reader, partitions, SOON)
        except KafkaException as error:
            if error.args[0].code() not in SILENCE:
                raise
        message = reader.poll(0)
        if message is not None and message.error() is not None and message.error().code() in DENIED:
            self._readers.pop(group).close()  # the next one is refused, too
            raise KafkaException(message.error())
        return _offsets_of(reader, partitions, PATIENCE - SOON)

    def _partitions(self, topic: str) -> list[TopicPartition]:
        count = self.existing([topic])[topic]
        return [TopicPartition(topic, number) for number in range(count)]

    def _check_exists(self, partitions: Sequence[TopicPartition]) -> None:
        kafka_topics.check_exists(self._admin, self._health, self.topics(), partitions)

    def _list_offsets(
        self, partitions: Sequence[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        request = {Assigned(*partition): spec for partition in partitions}

        def ask() -> dict[TopicPartition, int]:
            futures = self._admin.list_offsets(
                request, isolation_level=self._isolation, request_timeout=PATIENCE
            )
            # the timeout of a request is no promise that its answer comes
            found = {asked: future.result(2 * PATIENCE) for asked, future in futures.items()}
            return {TopicPartition(asked.topic, asked.partition): it.offset for asked, it in found.items()}

        return self._ask(ask, "DESCRIBE", topic=partitions[0].topic)

    def _ask(self, question: Callable[[], T], operation: str, *, topic: str = "", group: str = "") -> T:
        """Ask again for a while when a leader or coordinator is new or on the move.

        The rest is that of `Health.denial`.
        """
        deadline = time.monotonic() + PATIENCE
        with self._health.explained(self._admin, operation, topic=topic, group=group):
            while True:
                try:
                    return question()
                except KafkaException as error:
                    if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                        raise
                time.sleep(0.05)


class KafkaConsumer:
    """Reads assigned partitions; its positions are its own, the group's offsets are only shown."""

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
        self._client = _client(Consumer, {**CONSUMER, **settings, **required}, health)
        self._client.assign([Assigned(*partition, offset) for partition, offset in start.items()])

    def poll(self, limit: int, timeout: float) -> list[Record]:
        deadline = time.monotonic() + timeout
        records = self._take(limit, 0)
        while not records and (left := deadline - time.monotonic()) > 0:
            # consume() waits until it has all that it was asked for, so wait for one and take the rest
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
        """The high watermark of the last fetch; negative before the first one."""
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
        """A reader that commits nothing needs no group; librdkafka asks for it all the same."""
        if self._commits and self._group_denial is not None:
            raise self._group_denial

    def _committed(self, error: KafkaError | None, partitions: Sequence[Assigned]) -> None:
        """The client's `on_commit`; a refusal ends the reading, or nobody could see how far the flow is."""
        if error is None:
            return
        if error.code() in DENIED:
            topic = partitions[0].topic if partitions else ""
            self._health.deny(self._health.denial(error, "READ", topic=topic, group=self._group))
        else:
            logger.warning("the group's offsets are not shown for now: %s", error.str())

    def _check_topics(self) -> None:
        """Librdkafka tells once that a topic is gone, and is wrong at times while brokers restart."""
        try:
            counts = kafka_topics.listed(self._client, PATIENCE)
        except KafkaException:
            return  # the next poll asks again
        self._health.misses_topic = False
        kafka_topics.check_exists(self._client, self._health, counts, list(self._positions.next))

    def _expired(self, partition: TopicPartition) -> OffsetExpired:
        with self._health.explained(self._client, "DESCRIBE", topic=partition.topic):
            first, end = self._client.get_watermark_offsets(Assigned(*partition), timeout=PATIENCE)
        topic, number = partition
        return OffsetExpired(
            f"offset {self._positions.next[partition]} of {topic}[{number}] is not in Kafka, which holds "
            f"offsets {first} to {end} of it: retention removed records, or the topic was made again"
        )


class KafkaProducer:
    """Writes idempotently; every record of a `send` has its own delivery report."""

    def __init__(self, settings: Mapping[str, str], health: Health) -> None:
        self._health = health
        self._counts: dict[str, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._failures: list[str] = []
        self._topic = ""  # of the first record that was sent last
        self._too_large = False
        self._are_in_doubt = True  # the failures: what was sent may be in the log all the same
        self._has_written = False
        required = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "consistent_random",  # CRC-32 of the key; without a key any partition
            "on_delivery": self._delivered,
        }
        chosen = {**PRODUCER, **settings}
        self.queue_kbytes = _room(chosen["message.max.bytes"])
        queue = {"queue.buffering.max.kbytes": self.queue_kbytes}
        self._client = _client(Producer, {**queue, **chosen, **required}, health)

    def send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        self._topic = records[0].topic if records else ""
        try:
            with self._health.fatal_explained("WRITE", self._topic):
                return self._send(records)
        except SystemError as crash:
            if "cimpl" not in str(crash):
                raise
            health = self._health
            raise (health.ended() if self._has_written else health.refused_at_first(self._topic)) from crash

    def _send(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        self._check_topics(records)
        self._client.poll(0)
        self._health.lost_connection = False
        self._ends = {}
        self._failures = []
        self._too_large = False
        self._are_in_doubt = True
        try:
            for record in records:
                self._enqueue(record)
        finally:
            self._drain(records)
        self._health.raise_if_hopeless("WRITE", self._topic)
        if self._failures:
            failure = (
                f"{len(self._failures)} of {len(records)} records were not acknowledged by Kafka at "
                f"{self._health.servers}; the first: {self._failures[0]}"
            )
            if self._too_large:
                raise RecordTooLarge(failure)
            raise (Unacknowledged if self._are_in_doubt else DeliveryError)(failure)
        return self._ends

    def close(self) -> None:
        with self._health.fatal_explained("WRITE", self._topic):
            self._drain(())

    def _check_topics(self, records: Sequence[Outgoing]) -> None:
        targets = {(record.topic, record.partition or 0) for record in records}
        if not {topic for topic, _ in targets} <= self._counts.keys():
            self._counts = kafka_topics.visible(self._client, self._health)
        partitions = [TopicPartition(*target) for target in targets]
        kafka_topics.check_exists(self._client, self._health, self._counts, partitions)

    def _enqueue(self, record: Outgoing) -> None:
        while True:
            try:
                self._client.produce(
                    record.topic,
                    record.value,
                    record.key,
                    -1 if record.partition is None else record.partition,
                    timestamp=_clock(record.timestamp),
                    headers=list(record.headers) if record.headers else None,
                )
            except BufferError:
                self._client.poll(0.1)
            except KafkaException as error:
                if error.args[0].fatal():
                    raise
                raise _refused(record, error.args[0]) from error
            else:
                return

    def _drain(self, records: Sequence[Outgoing]) -> None:
        # in steps, so that Python handles signals meanwhile
        while self._client.flush(0.5):
            self._health.raise_if_hopeless("WRITE", self._topic)
            if self._health.lost_connection and _may_be_written_twice(records):
                self._client.purge()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        topic, number, offset = message.topic(), message.partition(), message.offset()
        if error is not None and error.code() in DENIED:
            self._health.deny(self._health.denial(error, "WRITE", topic=topic))
        elif error is not None:
            self._too_large |= error.code() == KafkaError.MSG_SIZE_TOO_LARGE
            self._failures.append(f"{_size_of(message)} bytes to topic {topic!r}: {_why(error)}")
            self._are_in_doubt &= error.code() in IN_DOUBT
        elif offset is None or offset < 0:
            self._failures.append(f"a record to topic {topic!r} was acknowledged without its offset")
        else:
            self._has_written = True
            self._ends[TopicPartition(topic, number)] = offset + 1


def _client(kind: Any, settings: Mapping[str, Any], health: Health) -> Any:
    """A librdkafka client; `ConfigError` for an option that it does not know, without showing secrets."""
    try:
        return kind({**settings, "logger": logger, "error_cb": health.report})
    except KafkaException as error:
        text: str = error.args[0].str()
    for name, value in settings.items():
        if value and any(part in name for part in SECRET):
            text = text.replace(str(value), "***")
    raise ConfigError(f"a Kafka option is wrong: {text}")


def _may_be_written_twice(records: Sequence[Outgoing]) -> bool:
    """Whether a broker that restarts may take the records again, if their acknowledgement was lost with it.

    It tells what an idempotent producer sends again by the producer's last sequence number, and forgets that
    when it starts if the producer's last record is a day old (`producer.id.expiration.ms`): by the record's
    own time, which in a replay of history is long ago. The sender has to look which of them are on the topic.
    """
    oldest = min((record.timestamp for record in records if record.timestamp), default=None)
    return oldest is not None and time.time() * 1000 - oldest > REMEMBERED


def _room(largest: str) -> int:
    """The KiB that a producer's queue may hold: one that is smaller than a message would never take it."""
    return max(QUEUE, 2 * int(largest) // 1024) if largest.isdecimal() else QUEUE


def _clock(timestamp: int | None) -> int:
    """A timestamp as librdkafka takes it: 0 is the time of writing there, so the first ms of 1970 is 1."""
    return 0 if timestamp is None else timestamp or 1


def _refused(record: Outgoing, error: KafkaError) -> DeliveryError:
    size = len(record.value or b"")
    failure = f"a record of {size:,} bytes for topic {record.topic!r} was refused: {error.str()}"
    too_large = error.code() == KafkaError.MSG_SIZE_TOO_LARGE
    return RecordTooLarge(failure) if too_large else DeliveryError(failure)


def _why(error: KafkaError) -> str:
    if error.code() in PURGED:
        return "the connection was lost, and a Kafka that restarts might take such old records twice"
    return str(error.str())


def _size_of(message: Message) -> int:
    return len(message.value() or b"")


def _offsets_of(reader: Any, partitions: Sequence[Assigned], timeout: float) -> list[Assigned]:
    found: list[Assigned] = reader.committed(list(partitions), timeout=timeout)
    return found
