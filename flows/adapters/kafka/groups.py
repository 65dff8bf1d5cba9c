"""Committed offsets of consumer groups, read without joining the groups."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Assigned

from flows.adapters.kafka.client import open_group_client
from flows.adapters.kafka.errors import DENIED, SILENCE
from flows.adapters.kafka.health import Health
from flows.adapters.kafka.topics import PATIENCE, SOON


class GroupOffsets:
    """Reads the committed offsets of groups, with one client for each group.

    The admin client's own request aborts the process while the group's coordinator is starting or moving
    (https://github.com/confluentinc/librdkafka/issues/5040).
    """

    def __init__(self, settings: Mapping[str, Any], health: Health) -> None:
        self._settings = settings
        self._health = health
        self._clients: dict[str, Consumer] = {}

    def committed(self, group: str, partitions: Sequence[Assigned]) -> list[Assigned]:
        """Return the committed offset of each partition; raises `KafkaException`, also for a missing ACL."""
        found = self.ask(group, partitions)
        for item in found:
            if item.error is not None and item.error.code() in DENIED:
                raise KafkaException(item.error)
        return found

    def ask(self, group: str, partitions: Sequence[Assigned]) -> list[Assigned]:
        """Return the committed offset of each partition, or its error.

        librdkafka reports a denied group as a message of the client, after the request has timed out. So a
        first short request is followed by a poll for that message. Raises `KafkaException`.
        """
        client = self._client(group)
        try:
            return _committed(client, partitions, SOON)
        except KafkaException as error:
            if error.args[0].code() not in SILENCE:
                raise
        message = client.poll(0)
        if message is not None and message.error() is not None and message.error().code() in DENIED:
            self._clients.pop(group).close()  # the next request needs a fresh client to be denied again
            raise KafkaException(message.error())
        return _committed(client, partitions, PATIENCE - SOON)

    def close(self) -> None:
        """Close all clients."""
        while self._clients:
            self._clients.popitem()[1].close()

    def _client(self, group: str) -> Consumer:
        if group not in self._clients:
            health = self._health.for_another_client()
            self._clients[group] = open_group_client(self._settings, health, group, {})
        return self._clients[group]


def _committed(client: Consumer, partitions: Sequence[Assigned], timeout: float) -> list[Assigned]:
    found: list[Assigned] = client.committed(list(partitions), timeout=timeout)
    return found
