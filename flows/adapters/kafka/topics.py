"""Topics of a Kafka cluster: list, create, delete, add partitions, and read their configuration."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, NewPartitions, NewTopic

from flows.adapters.kafka.errors import DENIED, SILENCE
from flows.adapters.kafka.health import Health
from flows.core.stream.broker import TopicPartition, TopicSpec
from flows.errors import BrokerError, UnknownPartition, UnknownTopic

PATIENCE = 5.0  # seconds that a request may take
SOON = 1.0  # seconds of these after which the client is checked for a refused connection
FOREVER = str(2**63 - 1)

TOPIC = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "CreateTime",
    # the engine itself judges events from the future; a refused prediction would stop the flow
    "message.timestamp.after.max.ms": FOREVER,
    # segments roll by record timestamps, which span weeks within seconds of a replay
    "segment.ms": FOREVER,
}
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 2**20),  # the active segment is never compacted
}
ROOMY = {"max.message.bytes": str(2 * 2**20)}  # twice Kafka's default


def visible(client: Any, health: Health) -> dict[str, int]:
    """Return the number of partitions of each topic that the client may describe, without internal topics.

    Raises `BrokerError`; within a second if the connection is refused. Not for a consumer, which would lose
    records: the client is polled for the reason of a failure.
    """
    with health.explained(client):
        try:
            return listed(client, SOON)
        except KafkaException as error:
            if error.args[0].code() not in SILENCE:
                raise
        client.poll(0)  # delivers the errors of the connection attempts to `health`
        health.raise_if_refused()
        return listed(client, PATIENCE - SOON)


def listed(client: Any, timeout: float) -> dict[str, int]:
    """Return what `visible` returns, by one request and without a poll; raises `KafkaException`."""
    topics = client.list_topics(timeout=timeout).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if not name.startswith("__")}


def existing(client: Any, health: Health, topics: Iterable[str]) -> dict[str, int]:
    """Return the number of partitions of each of `topics`; raises `UnknownTopic` or `AccessDenied`."""
    counts = visible(client, health)
    for topic in topics:
        if topic not in counts:
            raise_for_missing(client, health, topic)
    return {topic: counts[topic] for topic in topics}


def check_exists(
    client: Any, health: Health, counts: Mapping[str, int], partitions: Iterable[TopicPartition]
) -> None:
    """Raise `UnknownTopic`, `UnknownPartition` or `AccessDenied` unless `counts` has all `partitions`."""
    for topic, number in partitions:
        if topic not in counts:
            raise_for_missing(client, health, topic)
        if not 0 <= number < counts[topic]:
            raise UnknownPartition(topic, number, counts[topic])


def raise_for_missing(client: Any, health: Health, topic: str) -> None:
    """Raise `AccessDenied` or `UnknownTopic` for an unlisted topic; only a request by name has the reason."""
    with health.explained(client, "DESCRIBE", topic=topic):
        answer = client.list_topics(topic, timeout=PATIENCE).topics.get(topic)
        if answer is not None and answer.error is not None and answer.error.code() in DENIED:
            raise KafkaException(answer.error)
    raise UnknownTopic(topic)


def create(admin: Any, health: Health, topics: Sequence[TopicSpec]) -> list[str]:
    """Create the missing topics, wait until metadata lists them, and return the names of those created."""
    known = visible(admin, health)
    missing = [topic for topic in topics if topic.name not in known]
    if not missing:
        return []
    futures = admin.create_topics([_new(topic) for topic in missing], request_timeout=PATIENCE)
    created = [topic for topic, future in futures.items() if _was_created(admin, health, topic, future)]
    names = [topic.name for topic in missing]
    await_change(health, lambda: existing_or_none(admin, health, names) is not None)
    return created


def delete(admin: Any, health: Health, topics: Sequence[str]) -> None:
    """Delete those of the topics that exist, and wait until metadata no longer lists them."""
    doomed = list(visible(admin, health).keys() & set(topics))
    if not doomed:
        return
    for topic, future in admin.delete_topics(doomed, operation_timeout=PATIENCE).items():
        with health.explained(admin, "DELETE", topic=topic):
            future.result()
    await_change(health, lambda: visible(admin, health).keys().isdisjoint(doomed))


def add_partitions(admin: Any, health: Health, topic: str, partitions: int) -> None:
    """Increase the number of partitions of `topic` to `partitions`, and wait until metadata lists them."""
    request = [NewPartitions(topic, partitions)]
    for future in admin.create_partitions(request, request_timeout=PATIENCE).values():
        with health.explained(admin, "ALTER", topic=topic):
            future.result()
    await_change(health, lambda: visible(admin, health).get(topic, 0) >= partitions)


def settings(admin: Any, health: Health, topic: str) -> dict[str, str]:
    """Return the configuration of a topic; raises `AccessDenied` without the ACL DESCRIBE_CONFIGS."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    with health.explained(admin, "DESCRIBE_CONFIGS", topic=topic):
        [future] = admin.describe_configs([resource], request_timeout=PATIENCE).values()
        return {
            name: entry.value
            for name, entry in future.result(2 * PATIENCE).items()
            if entry.value is not None
        }


def existing_or_none(admin: Any, health: Health, topics: Iterable[str]) -> dict[str, int] | None:
    """Return what `existing` returns, or None if one of the topics does not exist."""
    try:
        return existing(admin, health, topics)
    except UnknownTopic:
        return None


def await_change(health: Health, done: Callable[[], bool]) -> None:
    """Wait until `done`: metadata follows a change by the controller some milliseconds later."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise BrokerError(
                f"Kafka at {health.servers} accepted a change of topics but its metadata does not show it "
                f"after {PATIENCE:g} s; look for the reason in Kafka's log"
            )
        time.sleep(0.02)


def _new(topic: TopicSpec) -> NewTopic:
    config = TOPIC | (COMPACTED if topic.compacted else {}) | (ROOMY if topic.roomy else {})
    return NewTopic(topic.name, topic.partitions, config=config)


def _was_created(admin: Any, health: Health, topic: str, future: Any) -> bool:
    try:
        future.result()
    except KafkaException as error:
        reason = error.args[0]
        if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        with health.explained(admin, "CREATE", topic=topic):
            if reason.code() in DENIED:
                raise
        raise BrokerError(
            f"Kafka at {health.servers} did not create topic {topic!r}: {reason.str()}"
        ) from error
    return True
