"""Runs the contract tests of brokers on the embedded log and on Kafka."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from flows.core.stream.broker import Broker, TopicPartition, TopicSpec
from flows.runtime.broker_url import open_broker


@pytest.fixture(params=["log", "kafka"])
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "kafka":
        return f"kafka://{request.getfixturevalue('kafka')}"
    return f"file://{tmp_path}/made/by/the/broker/log.db"


@pytest.fixture
def broker(broker_url: str) -> Iterator[Broker]:
    broker = open_broker(broker_url, {})
    yield broker
    broker.close()


@pytest.fixture
def new_topic(broker: Broker) -> Callable[[int], str]:
    """Return a function that creates a topic with a new name and `partitions`."""

    def make(partitions: int) -> str:
        name = f"topic-{uuid4().hex}"
        broker.create_topics([TopicSpec(name, partitions)])
        return name

    return make


@pytest.fixture
def remove_before(broker_url: str) -> Callable[[TopicPartition, int], None]:
    """Return a function that removes the batches of a partition below an offset, like retention."""

    def from_kafka(partition: TopicPartition, offset: int) -> None:
        admin = AdminClient({"bootstrap.servers": broker_url.removeprefix("kafka://")})
        for future in admin.delete_records([KafkaPartition(*partition, offset)]).values():
            future.result()

    def from_log(partition: TopicPartition, offset: int) -> None:
        connection = sqlite3.connect(broker_url.removeprefix("file://"))
        with connection:
            connection.execute(
                "DELETE FROM batches WHERE last < ? AND partition_id ="
                " (SELECT id FROM partitions WHERE topic = ? AND partition = ?)",
                (offset, *partition),
            )
        connection.close()

    return from_kafka if broker_url.startswith("kafka:") else from_log
