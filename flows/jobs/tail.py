"""Follows a topic, and turns its records into plain data for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from flows.core.stream.broker import Broker, Record, TopicPartition
from flows.core.stream.dead_letter import time_text

_HIDDEN = "..."  # replaces a value that would fill the screen


def follow_from_start(broker: Broker, topic: str) -> Iterator[Record]:
    """Yield all records of `topic`, then new ones as they arrive; never ends."""
    bounds = enumerate(broker.offsets(topic))
    return _follow(broker, {TopicPartition(topic, number): start for number, (start, _) in bounds})


def follow_from_end(broker: Broker, topic: str) -> Iterator[Record]:
    """Yield new records of `topic` as they arrive; never ends."""
    bounds = enumerate(broker.offsets(topic))
    return _follow(broker, {TopicPartition(topic, number): end for number, (_, end) in bounds})


def _follow(broker: Broker, offsets: Mapping[TopicPartition, int]) -> Iterator[Record]:
    consumer = broker.consumer("driftline.tail", offsets)
    try:
        while True:
            yield from consumer.poll(1000, 0.2)
    finally:
        consumer.close()


def readable(record: Record, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the record as plain data: its position, the headers of a dead letter, and its value.

    With `names` the features of a prediction become a mapping.
    """
    shown: dict[str, Any] = {
        "partition": record.partition,
        "offset": record.offset,
        "time": time_text(record.timestamp),
    }
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    if "reason" in headers:
        shown |= {name: headers[name] for name in ("reason", "detail", "topic") if name in headers}
    return shown | {"value": _value(record, names)}


def _value(record: Record, names: Sequence[str]) -> Any:
    try:
        value = orjson.loads(record.value or b"null")
        orjson.dumps([[value]])  # within what is shown; it writes fewer nested lists than it reads
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return (record.value or b"").decode(errors="backslashreplace")
    if isinstance(value, dict):
        if "estimator" in value:
            value["estimator"] = _HIDDEN
        features = value.get("features")
        if names and isinstance(features, list) and len(features) == len(names):
            value["features"] = dict(zip(names, features, strict=True))
    return value
