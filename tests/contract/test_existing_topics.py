"""Existing topics: `apply` reads and checks their settings."""

from typing import get_args

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from harness import Project

from flows.adapters.kafka.topic_settings import TopicRole, judge
from flows.core.stream.broker import Broker, TopicSpec
from flows.errors import ConfigError
from flows.runtime.topics import make


def test_topics_that_a_broker_made_for_the_engine_are_right(broker: Broker, new_topic) -> None:
    name = f"{new_topic(1)}-models"
    broker.create_topics([TopicSpec(name, compacted=True, roomy=True)])
    assert judge("models", broker.topic_settings(name)) == ([], [])
    assert judge("input", broker.topic_settings(new_topic(1))) == ([], [])
    assert len(get_args(TopicRole)) == 3


def remake(project: Project, address: str, topic: str, **config: str) -> list[str]:
    """Return the warnings of `make` for an existing topic with these settings."""
    running = project.engine()
    settings = {name.replace("_", "."): value for name, value in config.items()}
    with project.broker() as broker:
        broker.delete_topics([topic])
        admin = AdminClient({"bootstrap.servers": address})
        for future in admin.create_topics([NewTopic(topic, 1, config=settings)]).values():
            future.result()
        return make(running.pipeline, broker).remarks


def test_what_spoils_a_topic_is_told_and_what_makes_results_wrong_refused(
    project_on_kafka: Project, kafka: str
) -> None:
    keep = {"retention_ms": "-1"}
    late = {"message_timestamp_type": "LogAppendTime", **keep}
    (remark,) = remake(project_on_kafka, kafka, "departures", **late)
    assert "topic 'departures': message.timestamp.type = LogAppendTime" in remark
    (_, remark) = remake(project_on_kafka, kafka, "arrivals", cleanup_policy="compact", retention_ms="1000")
    assert "topic 'arrivals': cleanup.policy = compact" in remark
    assert "retention" not in remark
    with pytest.raises(ConfigError, match=r"'flight_delays\.predictions': message\.timestamp\.type"):
        remake(project_on_kafka, kafka, "flight_delays.predictions", **late)
