"""Follows a topic, and makes its records readable."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from flows.core.stream.broker import Broker, Record, TopicPartition
from flows.core.stream.dead_letter import time_text

_HIDDEN = "..."  # in the place of what would fill the screen and tell a reader nothing


def follow(broker: Broker, topic: str, from_start: bool) -> Iterator[Record]:
    """The records of `topic` as they come, from the oldest or from now on; it never ends."""
    bounds = broker.offsets(topic)
    start = {TopicPartition(topic, p): first if from_start else end for p, (first, end) in enumerate(bounds)}
    consumer = broker.consumer("driftline.tail", start)
    try:
        while True:
            yield from consumer.poll(1000, 0.2)
    finally:
        consumer.close()


def readable(record: Record, names: Sequence[str] = ()) -> dict[str, Any]:
    """The record as plain data: where it stands, its headers if it is a dead letter, and its value.

    `names` are those of a prediction's features.
    """
    shown: dict[str, Any] = {
        "partition": record.partition,
        "offset": record.offset,
        "time": time_text(record.timestamp),
    }
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    if "reason" in headers:
        shown |= {name: headers[name] for name in ("reason", "detail", "topic") if name in headers}
    try:
        value = orjson.loads(record.value or b"null")
    except orjson.JSONDecodeError:
        value = (record.value or b"").decode(errors="backslashreplace")
    if isinstance(value, dict):
        if "estimator" in value:
            value["estimator"] = _HIDDEN
        if names and len(value.get("features", ())) == len(names):
            value["features"] = dict(zip(names, value["features"], strict=True))
    return shown | {"value": value}
