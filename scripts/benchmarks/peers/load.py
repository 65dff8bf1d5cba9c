"""Events and labels for the comparison with the peers."""

import random
from collections.abc import Iterator
from typing import Any

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

EVENTS = "bench_events"
LABELS = "bench_labels"
BEGIN = 1_700_000_000_000  # ms
LABEL_DELAY = 5_000  # ms


def events(count: int, step: int = 10) -> Iterator[dict[str, Any]]:
    """Yield `count` events, `step` ms apart: ten numbers, and whether their noisy sum is above 0."""
    draw = random.Random(1)  # noqa: S311  the same each time
    for number in range(count):
        x = {f"f{j}": round(draw.gauss(0, 1), 6) for j in range(10)}
        y = sum(x.values()) + draw.gauss(0, 1) > 0
        time, user = BEGIN + number * step, f"u{draw.randrange(1000)}"
        yield {"id": f"e{number:07d}", "ts": time, "user": user, **x, "y": int(y)}


def label(event: dict[str, Any]) -> dict[str, Any]:
    """Return the label of the event."""
    return {"id": event["id"], "ts": event["ts"] + LABEL_DELAY, "y": bool(event["y"])}


def fill(broker: str, count: int) -> None:
    """Recreate the topics of events and labels with `count` records each."""
    for topic in (EVENTS, LABELS):
        make_topic(broker, topic)
    producer = Producer(
        {"bootstrap.servers": broker, "linger.ms": 20, "queue.buffering.max.messages": 2_000_000}
    )
    for event in events(count):
        key, truth = event["id"].encode(), label(event)
        producer.produce(EVENTS, orjson.dumps(event), key, 0, timestamp=event["ts"])
        producer.produce(LABELS, orjson.dumps(truth), key, 0, timestamp=truth["ts"])
        producer.poll(0)
    producer.flush()


def make_topic(broker: str, topic: str) -> None:
    """Create an empty topic with one partition and unlimited retention, since the timestamps are old."""
    admin = AdminClient({"bootstrap.servers": broker})
    if topic in admin.list_topics(timeout=10).topics:
        admin.delete_topics([topic], operation_timeout=10)[topic].result()
    config = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
    admin.create_topics([NewTopic(topic, 1, 1, config=config)], operation_timeout=10)[topic].result()
