"""The newest sequence of a models topic on the embedded log, from which a publisher continues."""

from contextlib import closing
from pathlib import Path
from typing import Any

from river import linear_model

from flows.adapters.sqlite.log import LogBroker
from flows.core.models.model import Model, ModelMessage
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import TopicSpec
from flows.runtime.steps.model_publisher import newest_sequence

NOW = 1_357_035_300_000


def sealer(secret: bytes = b"s" * 32) -> Sealer:
    return Sealer(secret, [linear_model.LogisticRegression()], None)


def test_after_a_crash_the_newest_sequence_is_that_of_the_topic(tmp_path: Path):
    ours, stranger = sealer(), sealer(secret=b"t" * 32)

    def message(role: Any, sequence: int, by: Sealer = ours) -> Any:
        model = Model("v1", linear_model.LogisticRegression(), 3)
        record = by.record("p.models", ModelMessage("p", role, NOW, model, {}, sequence))
        return record._replace(partition=0)

    broker = LogBroker(tmp_path / "log.db")
    with closing(broker):
        broker.create_topics([TopicSpec("p.models", 1)])
        assert newest_sequence(broker, "p.models", ours, {}) == 0
        with closing(broker.producer()) as producer:
            producer.send([message("champion", 1), message("challenger", 2), message("champion", 3)])
            producer.send([message("candidate", 900), message("champion", 800, stranger)])
        assert newest_sequence(broker, "p.models", ours, {}) == 3
        assert newest_sequence(broker, "p.models", ours, {0: 2}) == 3
        assert newest_sequence(broker, "p.models", ours, {0: 3}) == 0
