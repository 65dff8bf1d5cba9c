"""The topics of a Kafka cluster: lists, creates, deletes and enlarges them, and reads their configuration."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, NewPartitions, NewTopic

from flows.adapters.kafka.errors import DENIED, SILENCE, Health
from flows.core.stream.broker import TopicPartition, TopicSpec
from flows.errors import BrokerError, UnknownPartition, UnknownTopic

PATIENCE = 5.0  # seconds that a question to the broker may take
SOON = 1.0  # seconds of them after which a refusal is looked for
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


def visible(client: Any, health: Health) -> dict[str, int]:
    """The number of partitions of each topic that the client may describe, without Kafka's own ("__...").

    Kafka hides the others. Raises `BrokerError`, early where the connection is refused. Not for a consumer,
    which might lose a record: the client is polled for the reasons of a failure.
    """
    with health.explained(client):
        try:
            return listed(client, SOON)
        except KafkaException as error:
            if error.args[0].code() not in SILENCE:
                raise
        client.poll(0)  # hands over what the connection attempts reported
        health.raise_if_refused()
        return listed(client, PATIENCE - SOON)


def listed(client: Any, timeout: float) -> dict[str, int]:
    """As `visible`, by one question that raises `KafkaException`; the client is not polled."""
    topics = client.list_topics(timeout=timeout).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if not name.startswith("__")}


def existing(client: Any, health: Health, topics: Iterable[str]) -> dict[str, int]:
    """The number of partitions of each of `topics`; raises `UnknownTopic`, or `AccessDenied` if hidden."""
    counts = visible(client, health)
    for topic in topics:
        if topic not in counts:
            raise_for_missing(client, health, topic)
    return {topic: counts[topic] for topic in topics}


def check_exists(
    client: Any, health: Health, counts: Mapping[str, int], partitions: Iterable[TopicPartition]
) -> None:
    """Raise as `existing` does unless `counts` has the partitions."""
    for topic, number in partitions:
        if topic not in counts:
            raise_for_missing(client, health, topic)
        if not 0 <= number < counts[topic]:
            raise UnknownPartition(topic, number, counts[topic])


def raise_for_missing(client: Any, health: Health, topic: str) -> None:
    """Raise what Kafka says of a topic that it did not list: a question by name is answered with a code."""
    with health.explained(client, "DESCRIBE", topic=topic):
        answer = client.list_topics(topic, timeout=PATIENCE).topics.get(topic)
        if answer is not None and answer.error is not None and answer.error.code() in DENIED:
            raise KafkaException(answer.error)
    raise UnknownTopic(topic)


def create(admin: Any, health: Health, topics: Sequence[TopicSpec]) -> list[str]:
    """Create the topics that are missing and wait until the cluster shows them; return the names created."""
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
    """Delete those of the topics that exist, and wait until the cluster no longer shows them."""
    doomed = list(visible(admin, health).keys() & set(topics))
    if not doomed:
        return
    for topic, future in admin.delete_topics(doomed, operation_timeout=PATIENCE).items():
        with health.explained(admin, "DELETE", topic=topic):
            future.result()
    await_change(health, lambda: visible(admin, health).keys().isdisjoint(doomed))


def add_partitions(admin: Any, health: Health, topic: str, partitions: int) -> None:
    """Let `topic` have so many partitions, more than it has, and wait until the cluster shows them."""
    for future in admin.create_partitions(
        [NewPartitions(topic, partitions)], request_timeout=PATIENCE
    ).values():
        with health.explained(admin, "ALTER", topic=topic):
            future.result()
    await_change(health, lambda: visible(admin, health).get(topic, 0) >= partitions)


def settings(admin: Any, health: Health, topic: str) -> dict[str, str]:
    """The configuration of a topic by Kafka's names; raises `AccessDenied` without DESCRIBE_CONFIGS."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    with health.explained(admin, "DESCRIBE_CONFIGS", topic=topic):
        [future] = admin.describe_configs([resource], request_timeout=PATIENCE).values()
        return {
            name: entry.value
            for name, entry in future.result(2 * PATIENCE).items()
            if entry.value is not None
        }


def existing_or_none(admin: Any, health: Health, topics: Iterable[str]) -> dict[str, int] | None:
    """As `existing`; None while one of the topics does not exist."""
    try:
        return existing(admin, health, topics)
    except UnknownTopic:
        return None


def await_change(health: Health, done: Callable[[], bool]) -> None:
    """What the controller has done, the broker's metadata shows some milliseconds later."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise BrokerError(
                f"Kafka at {health.servers} accepted a change of topics but does not show it after "
                f"{PATIENCE:g} s; look into its log"
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
        raise BrokerError(f"Kafka did not create topic {topic!r}: {reason.str()}") from error
    return True
