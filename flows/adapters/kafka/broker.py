"""The broker interface on Kafka, through confluent-kafka (librdkafka)."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, TypeVar

from confluent_kafka import OFFSET_INVALID, Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Assigned
from confluent_kafka.admin import AdminClient, OffsetSpec

from flows.adapters.kafka import topics as kafka_topics
from flows.adapters.kafka.client import CLIENT, open_client, open_group_client
from flows.adapters.kafka.consumer import KafkaConsumer, await_any
from flows.adapters.kafka.errors import MOVING, principal
from flows.adapters.kafka.groups import GroupOffsets
from flows.adapters.kafka.health import Health
from flows.adapters.kafka.producer import KafkaProducer
from flows.adapters.kafka.topics import PATIENCE
from flows.core.stream.broker import TopicPartition, TopicSpec
from flows.errors import AccessDenied

T = TypeVar("T")

ISOLATION = "isolation.level"


class KafkaBroker:
    """The Kafka cluster at `servers` (`host:port[,host:port]`).

    `options` are librdkafka options, passed to every client. They may hold secrets and are never shown.
    """

    def __init__(self, servers: str, options: Mapping[str, str]) -> None:
        self._settings = {**CLIENT, **options, "bootstrap.servers": servers}
        protocol = options.get("security.protocol", "plaintext")
        self._health = Health(servers, principal(options), protocol)
        self._admin = open_client(AdminClient, self._settings, self._health)
        self._groups = GroupOffsets(self._settings, self._health)

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

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        counts = self.existing(topics)
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]
        return self._list_offsets(partitions, OffsetSpec.latest())

    def offset_at(self, partition: TopicPartition, timestamp: int) -> int:
        self._check_exists([partition])
        found = self._list_offsets([partition], OffsetSpec.for_timestamp(timestamp))[partition]
        return found if found >= 0 else self._list_offsets([partition], OffsetSpec.latest())[partition]

    def committed(self, group: str, topic: str) -> dict[int, int]:
        wanted = [Assigned(*partition) for partition in self._partitions(topic)]
        found = self._retry(
            lambda: self._groups.committed(group, wanted), "DESCRIBE", topic=topic, group=group
        )
        return {item.partition: item.offset for item in found if item.offset >= 0}

    def consumer(self, group: str, start: Mapping[TopicPartition, int]) -> KafkaConsumer:
        self._check_exists(list(start))
        ends = self._list_offsets(list(start), OffsetSpec.latest())
        return KafkaConsumer(self._settings, self._health.for_another_client(), group, start, ends)

    def producer(self) -> KafkaProducer:
        return KafkaProducer(self._settings, self._health.for_another_client(), self.uncommitted().ends)

    def wait(self, consumers: Sequence[Any], timeout: float) -> None:
        await_any(consumers, timeout)

    def members(self, group: str) -> list[tuple[str, str]]:
        """Return the client id and the address of each member of the group.

        Avoids the admin client's newer request, which can abort the process when the connection to the group
        coordinator is lost (https://github.com/confluentinc/librdkafka/issues/4605).
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = self._retry(lambda: self._admin.list_groups(group, PATIENCE), "DESCRIBE", group=group)
        return [(member.client_id, member.client_host) for each in found for member in each.members]

    def check_group(self, group: str) -> None:
        """Raise `AccessDenied` if the group may not be described: Kafka then lists it without members."""
        self._retry(lambda: self._groups.ask(group, [Assigned("no-topic", 0)]), "DESCRIBE", group=group)

    def denial(self, error: KafkaError, operation: str, *, topic: str, group: str) -> AccessDenied:
        """Return the error for a missing ACL; see `Health.denial`."""
        return self._health.denial(error, operation, topic=topic, group=group)

    def member(self, group: str, options: Mapping[str, Any]) -> Consumer:
        """Return a client with these options that can join the group."""
        return open_group_client(self._settings, self._health.for_another_client(), group, options)

    def close(self) -> None:
        """Close the clients that read groups; librdkafka frees an admin client itself."""
        self._groups.close()

    @property
    def _isolation(self) -> IsolationLevel:
        """The isolation level of the consumers, so that end offsets are where they stop reading."""
        is_uncommitted = self._settings.get(ISOLATION) == "read_uncommitted"
        return IsolationLevel.READ_UNCOMMITTED if is_uncommitted else IsolationLevel.READ_COMMITTED

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
            # the request timeout does not guarantee that the future completes
            found = {asked: future.result(2 * PATIENCE).offset for asked, future in futures.items()}
            if OFFSET_INVALID in found.values():  # without an error, while the broker starts
                raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
            return {TopicPartition(asked.topic, asked.partition): at for asked, at in found.items()}

        return self._retry(ask, "DESCRIBE", topic=partitions[0].topic)

    def _retry(self, request: Callable[[], T], operation: str, *, topic: str = "", group: str = "") -> T:
        """Return the result of `request`, repeated while a leader or coordinator is moving.

        `operation`, `topic` and `group` are for the error of a missing ACL; see `Health.denial`.
        """
        deadline = time.monotonic() + PATIENCE
        with self._health.explained(self._admin, operation, topic=topic, group=group):
            while True:
                try:
                    return request()
                except KafkaException as error:
                    if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                        raise
                time.sleep(0.05)
