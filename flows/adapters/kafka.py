"""Kafka behind the engine's broker interface, through confluent-kafka (librdkafka)."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka import TopicPartition as Assigned
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from flows.core.broker import Outgoing, Record, TopicPartition, TopicSpec
from flows.errors import (
    BrokerAway,
    BrokerError,
    ConfigError,
    DeliveryError,
    OffsetExpired,
    Unacknowledged,
    UnknownPartition,
    UnknownTopic,
)

T = TypeVar("T")

logger = logging.getLogger("driftline.kafka")
logger.addHandler(logging.NullHandler())  # an application that sets up no logging gets no noise

PATIENCE = 5.0  # seconds that a question to the broker may take
REPEAT = 30.0  # seconds before the same trouble is logged again
FOREVER = str(2**63 - 1)

TOPIC = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "CreateTime",
    # an event from the future is the engine's to judge; a refused prediction would stop the flow
    "message.timestamp.after.max.ms": FOREVER,
    # segments roll by the records' clock, and a replay's clock runs through weeks within seconds
    "segment.ms": FOREVER,
}
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 2**20),  # the segment that is written to is never compacted
}
ROOMY = {"max.message.bytes": str(2 * 2**20)}  # twice what Kafka takes by default
CLIENT = {
    "client.id": "driftline",
    "reconnect.backoff.max.ms": "1000",
    # librdkafka logs each failed attempt to connect; `_Health` hears of the same and repeats less
    "log_level": "2",
}
CONSUMER = {
    # the defaults cap a consumer at `queued.min.messages` a second
    "fetch.queue.backoff.ms": "2",
    # a resumed partition waits for the fetch under way
    "fetch.wait.max.ms": "20",
    # what is fetched ahead is thrown away by a pause
    "queued.min.messages": "20000",
    "queued.max.messages.kbytes": "16384",
}
REMEMBERED = 12 * 3_600_000  # ms; half of what Kafka's producer.id.expiration.ms is by default
QUEUE = 32 * 2**10  # KiB that a producer holds at most; librdkafka's default is a gigabyte
PRODUCER = {
    "compression.type": "lz4",
    "delivery.timeout.ms": "120000",
    "message.max.bytes": "1500000",  # a dead letter is larger than its record, which may have Kafka's 1 MiB
}
SECRET = ("password", "secret", "token", "key.pem", "sasl.jaas", "oauthbearer.config")
HOPELESS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
GONE = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})
MOVING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError._WAIT_COORD,
    }
)
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
IN_DOUBT = PURGED | {KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT}
SILENCE = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})


class KafkaBroker:
    """The Kafka cluster at `servers` (`host:port[,host:port]`).

    `options` go to every client as librdkafka names them; they may hold secrets and are never shown.
    """

    def __init__(self, servers: str, options: Mapping[str, str]) -> None:
        self._health = _Health(servers)
        self._settings = {**CLIENT, **options, "bootstrap.servers": servers}
        self._admin = _client(AdminClient, self._settings, self._health)
        self._readers: dict[str, Any] = {}

    def create_topics(self, topics: Sequence[TopicSpec]) -> list[str]:
        existing = self.topics()
        missing = [topic for topic in topics if topic.name not in existing]
        if not missing:
            return []
        futures = self._admin.create_topics(
            [
                NewTopic(
                    topic.name,
                    topic.partitions,
                    config=TOPIC | (COMPACTED if topic.compacted else {}) | (ROOMY if topic.roomy else {}),
                )
                for topic in missing
            ],
            request_timeout=PATIENCE,
        )
        created = [topic for topic, future in futures.items() if self._was_created(topic, future)]
        self._await_metadata({topic.name for topic in missing}.issubset)
        return created

    def delete_topics(self, topics: Sequence[str]) -> None:
        doomed = list(self.topics().keys() & set(topics))
        if doomed:
            futures = self._admin.delete_topics(doomed, operation_timeout=PATIENCE)
            with self._health.explained(self._admin):
                for future in futures.values():
                    future.result()
            self._await_metadata(set(doomed).isdisjoint)

    def topics(self) -> dict[str, int]:
        with self._health.explained(self._admin):
            return _partition_counts(self._admin)

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
        found = self._ask(lambda: self._reader(group).committed(wanted, timeout=PATIENCE))
        return {item.partition: item.offset for item in found if item.offset >= 0}

    def consumer(self, group: str, start: Mapping[TopicPartition, int]) -> "KafkaConsumer":
        self._check_exists(list(start))
        ends = self._list_offsets(list(start), OffsetSpec.latest())
        return KafkaConsumer(self._settings, _Health(self._health.servers), group, start, ends)

    def producer(self) -> "KafkaProducer":
        return KafkaProducer(self._settings, _Health(self._health.servers))

    def members(self, group: str) -> list[tuple[str, str]]:
        """The client id and the address of each member of the group.

        Not by the admin client's newer request, which can end the process when the connection to the group's
        coordinator is lost (https://github.com/confluentinc/librdkafka/issues/4605).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = self._ask(lambda: self._admin.list_groups(group, PATIENCE))
        return [(member.client_id, member.client_host) for each in found for member in each.members]

    def member(self, group: str, options: Mapping[str, Any]) -> Consumer:
        """A client with these options that is to join the group."""
        own = {"group.id": group, "enable.auto.commit": False}
        return _client(Consumer, {**self._settings, **own, **options}, _Health(self._health.servers))

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

    def _partitions(self, topic: str) -> list[TopicPartition]:
        counts = self.topics()
        if topic not in counts:
            raise UnknownTopic(topic)
        return [TopicPartition(topic, number) for number in range(counts[topic])]

    def _check_exists(self, partitions: Sequence[TopicPartition]) -> None:
        _check_exists(self.topics(), partitions)

    def _list_offsets(
        self, partitions: Sequence[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        request = {Assigned(*partition): spec for partition in partitions}

        def ask() -> dict[TopicPartition, int]:
            futures = self._admin.list_offsets(request, request_timeout=PATIENCE)
            # the timeout of a request is no promise that its answer comes
            found = {asked: future.result(2 * PATIENCE) for asked, future in futures.items()}
            return {TopicPartition(asked.topic, asked.partition): it.offset for asked, it in found.items()}

        return self._ask(ask)

    def _ask(self, question: Callable[[], T]) -> T:
        """Ask again for a while when a leader or coordinator is new or on the move."""
        deadline = time.monotonic() + PATIENCE
        with self._health.explained(self._admin):
            while True:
                try:
                    return question()
                except KafkaException as error:
                    if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                        raise
                time.sleep(0.05)

    def _was_created(self, topic: str, future: Any) -> bool:
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise BrokerError(f"Kafka did not create topic {topic!r}: {error.args[0].str()}") from error
        return True

    def _await_metadata(self, done: Callable[[Set[str]], bool]) -> None:
        """What the controller has done, the broker's metadata shows some milliseconds later."""
        deadline = time.monotonic() + PATIENCE
        while not done(self.topics().keys()):
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"Kafka at {self._health.servers} took on a change of topics but does not show it after "
                    f"{PATIENCE:g} s; look into its log"
                )
            time.sleep(0.02)


class KafkaConsumer:
    """Reads assigned partitions; its positions are its own, the group's offsets are only shown."""

    def __init__(
        self,
        settings: Mapping[str, str],
        health: "_Health",
        group: str,
        start: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self._health = health
        self._positions = dict(start)
        self._ends = dict(ends)
        required = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "on_commit": _log_commit_error,
        }
        self._client = _client(Consumer, {**CONSUMER, **settings, **required}, health)
        self._client.assign([Assigned(*partition, offset) for partition, offset in start.items()])

    def poll(self, limit: int, timeout: float) -> list[Record]:
        deadline = time.monotonic() + timeout
        records = self._accept(self._client.consume(limit, 0))
        while not records and (left := deadline - time.monotonic()) > 0:
            # consume() waits until it has all that it was asked for, so wait for one and take the rest
            records = self._accept(self._client.consume(1, left))
            if records and limit > 1:
                records += self._accept(self._client.consume(limit - 1, 0))
        self._health.raise_if_hopeless()
        if self._health.misses_topic:
            self._check_topics()
        return records

    def has_backlog(self, partition: TopicPartition) -> bool:
        # negative before the first fetch
        cached: int = self._client.get_watermark_offsets(Assigned(*partition), cached=True)[1]
        return self._positions[partition] < max(cached, self._ends[partition])

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._client.pause([Assigned(*partition) for partition in partitions])

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._client.resume([Assigned(*partition) for partition in partitions])

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if not offsets:
            return
        try:
            self._client.commit(
                offsets=[Assigned(*partition, offset) for partition, offset in offsets.items()],
                asynchronous=True,
            )
        except KafkaException as error:
            _log_commit_error(error.args[0], [])

    def close(self) -> None:
        self._client.close()

    def _accept(self, messages: Sequence[Message]) -> list[Record]:
        records = []
        positions = self._positions
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
                    tuple((name, value or b"") for name, value in headers) if headers else (),
                )
            )
        return records

    def _handle(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            # behind the last record may stand control records and what compaction removed
            partition = TopicPartition(message.topic(), message.partition())
            self._positions[partition] = max(self._positions[partition], message.offset())
        elif code == KafkaError._AUTO_OFFSET_RESET:
            raise self._expired(TopicPartition(message.topic(), message.partition()))
        else:
            self._health.report(error)

    def _check_topics(self) -> None:
        """Librdkafka tells once that a topic is gone, and is wrong at times while brokers restart."""
        try:
            counts = _partition_counts(self._client)
        except KafkaException:
            return  # the next poll asks again
        self._health.misses_topic = False
        _check_exists(counts, list(self._positions))

    def _expired(self, partition: TopicPartition) -> OffsetExpired:
        with self._health.explained(self._client):
            first, end = self._client.get_watermark_offsets(Assigned(*partition), timeout=PATIENCE)
        topic, number = partition
        return OffsetExpired(
            f"offset {self._positions[partition]} of {topic}[{number}] is not in Kafka, which holds "
            f"offsets {first} to {end} of it: retention removed records, or the topic was made again"
        )


class KafkaProducer:
    """Writes idempotently; every record of a `send` has its own delivery report."""

    def __init__(self, settings: Mapping[str, str], health: "_Health") -> None:
        self._health = health
        self._counts: dict[str, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._failures: list[str] = []
        self._are_in_doubt = True  # the failures: what was sent may be in the log all the same
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
        self._check_topics(records)
        self._client.poll(0)
        self._health.lost_connection = False
        self._ends = {}
        self._failures = []
        self._are_in_doubt = True
        try:
            for record in records:
                self._enqueue(record)
        finally:
            self._drain(records)
        if self._failures:
            kind = Unacknowledged if self._are_in_doubt else DeliveryError
            raise kind(
                f"{len(self._failures)} of {len(records)} records were not acknowledged by Kafka at "
                f"{self._health.servers}; the first: {self._failures[0]}"
            )
        return self._ends

    def close(self) -> None:
        self._drain(())

    def _check_topics(self, records: Sequence[Outgoing]) -> None:
        targets = {(record.topic, record.partition or 0) for record in records}
        if not {topic for topic, _ in targets} <= self._counts.keys():
            with self._health.explained(self._client):
                self._counts = _partition_counts(self._client)
        _check_exists(self._counts, [TopicPartition(*target) for target in targets])

    def _enqueue(self, record: Outgoing) -> None:
        while True:
            try:
                self._client.produce(
                    record.topic,
                    record.value,
                    record.key,
                    -1 if record.partition is None else record.partition,
                    timestamp=record.timestamp or 0,
                    headers=list(record.headers) if record.headers else None,
                )
            except BufferError:
                self._client.poll(0.1)
            except KafkaException as error:
                raise _refused(record, error.args[0]) from error
            else:
                return

    def _drain(self, records: Sequence[Outgoing]) -> None:
        # in steps, so that Python handles signals meanwhile
        while self._client.flush(0.5):
            self._health.raise_if_hopeless()
            if self._health.lost_connection and _may_be_written_twice(records):
                self._client.purge()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        topic, number, offset = message.topic(), message.partition(), message.offset()
        if error is not None:
            self._failures.append(f"{_size_of(message)} bytes to topic {topic!r}: {_why(error)}")
            self._are_in_doubt &= error.code() in IN_DOUBT
        elif offset is None or offset < 0:
            self._failures.append(f"a record to topic {topic!r} was acknowledged without its offset")
        else:
            self._ends[TopicPartition(topic, number)] = offset + 1


class _Health:
    """What a client reports about its connections, and how a failure is told to a person."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.misses_topic = False
        self.lost_connection = False
        self._silent_until: dict[int, float] = {}
        self._last: KafkaError | None = None
        self._hopeless: KafkaError | None = None

    def report(self, error: KafkaError) -> None:
        """The client's `error_cb`."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            return  # the connections have said why
        self._last = error
        self._warn(error)
        if error.code() in GONE:
            self.misses_topic = True
        if error.code() == KafkaError._TRANSPORT:
            self.lost_connection = True
        if error.fatal() or error.code() in HOPELESS:
            self._hopeless = error

    def _warn(self, error: KafkaError) -> None:
        """Log what is new; in an outage every attempt to connect reports the same many times a second."""
        now = time.monotonic()
        if now >= self._silent_until.get(error.code(), 0.0):
            self._silent_until[error.code()] = now + REPEAT
            logger.warning("%s", error.str())

    def raise_if_hopeless(self) -> None:
        """Raise `BrokerError` once trying again is of no use."""
        if self._hopeless is not None:
            raise BrokerError(f"Kafka at {self.servers} refuses this client: {self._hopeless.str()}")

    @contextmanager
    def explained(self, client: Any) -> Iterator[None]:
        """Turn what `client` raises into a `BrokerError`."""
        try:
            yield
        except TimeoutError as error:
            raise BrokerAway(f"Kafka at {self.servers} did not answer in time; check that it runs") from error
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() not in SILENCE:
                kind = BrokerAway if reason.code() in MOVING else BrokerError
                raise kind(f"Kafka at {self.servers} refuses: {reason.str()}") from error
            client.poll(0)  # hands over what the connection attempts reported
            raise BrokerAway(
                f"Kafka at {self.servers} does not answer: {(self._last or reason).str()}. Check the address "
                "and that it runs (`scripts/kafka start` starts one on this machine)"
            ) from error


def _client(kind: Any, settings: Mapping[str, Any], health: _Health) -> Any:
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


def _partition_counts(client: Any) -> dict[str, int]:
    """The number of partitions of each topic; Kafka's own topics begin with two underscores."""
    topics = client.list_topics(timeout=PATIENCE).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if not name.startswith("__")}


def _check_exists(counts: Mapping[str, int], partitions: Sequence[TopicPartition]) -> None:
    for topic, number in partitions:
        if topic not in counts:
            raise UnknownTopic(topic)
        if not 0 <= number < counts[topic]:
            raise UnknownPartition(topic, number, counts[topic])


def _refused(record: Outgoing, error: KafkaError) -> DeliveryError:
    return DeliveryError(
        f"a record of {len(record.value):,} bytes for topic {record.topic!r} was refused: {error.str()}"
    )


def _why(error: KafkaError) -> str:
    if error.code() in PURGED:
        return "the connection was lost, and a Kafka that restarts might take such old records twice"
    return str(error.str())


def _size_of(message: Message) -> int:
    return len(message.value() or b"")


def _log_commit_error(error: KafkaError | None, _partitions: Sequence[Assigned]) -> None:
    if error is not None:
        logger.warning("the group's offsets are not shown for now: %s", error.str())
