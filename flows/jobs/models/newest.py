"""Reads topics backwards: what an export needs is at their end."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from flows.core.features.plan import FeaturePlan
from flows.core.registry.registry import RegisteredVersion
from flows.core.serving.prediction_message import decode_served
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.times import milliseconds
from flows.errors import InvalidRecord
from flows.pipeline import Pipeline

_BLOCK = 1000  # records read at once


def newest_first(broker: Broker, partition: TopicPartition, start: int, end: int) -> Iterator[Record]:
    """Yield the records with `start <= offset < end`, the last one first."""
    while end > start:
        begin = max(start, end - _BLOCK)
        block = [record for records in read_range(broker, partition, begin, end) for record in records]
        yield from reversed(block)
        end = begin


def served_rows(pipeline: Pipeline, plan: FeaturePlan, broker: Broker, most: int) -> list[list[Any]]:
    """Return the features of the last predictions of the plan, at most `most`, in event-time order."""
    topic, width = pipeline.topic("predictions"), len(pipeline.feature_names(plan))
    rows: list[tuple[int, list[Any]]] = []
    for number, (start, end) in enumerate(broker.offsets(topic)):
        records = newest_first(broker, TopicPartition(topic, number), start, end)
        rows += islice(_rows_of_plan(records, plan.hash, width), most)
    rows.sort(key=lambda row: row[0])
    return [features for _, features in rows[-most:]]


def _rows_of_plan(records: Iterator[Record], plan: str, width: int) -> Iterator[tuple[int, list[Any]]]:
    """Yield the event time and the features of each prediction of the plan."""
    for record in records:
        try:
            served = decode_served(record)
        except InvalidRecord:
            continue
        prediction = served.prediction
        if served.plan == plan and len(prediction.features) == width:
            yield prediction.time, list(prediction.features)


def last_assessment(
    pipeline: Pipeline, broker: Broker, registered: RegisteredVersion
) -> dict[str, Any] | None:
    """Return the last assessment while a version was champion, None if it never was.

    A former champion may be in the shadow again. Records before a version was born are not read, nor those
    after it was retired.
    """
    if registered.last("promoted") is None:
        return None
    found = [
        body
        for partition, start, end in _during_its_life(pipeline.topic("metrics"), broker, registered)
        if (body := _assessment(newest_first(broker, partition, start, end), registered.name)) is not None
    ]
    return max(found, key=lambda body: int(body["labels"]), default=None)


def _during_its_life(
    topic: str, broker: Broker, registered: RegisteredVersion
) -> Iterator[tuple[TopicPartition, int, int]]:
    retired = registered.last("retired") if registered.role == "retired" else None
    for number, (start, end) in enumerate(broker.offsets(topic)):
        partition = TopicPartition(topic, number)
        start = max(start, broker.offset_at(partition, milliseconds(registered.born.time)))
        if retired is not None:
            end = min(end, broker.offset_at(partition, milliseconds(retired.time) + 1))
        yield partition, start, end


def _assessment(records: Iterator[Record], version: str) -> dict[str, Any] | None:
    return next(
        (body for body in _bodies(records) if body["model"] == version and body.get("assessment")), None
    )


def last_metrics(pipeline: Pipeline, broker: Broker) -> dict[str, Any] | None:
    """Return the newest metrics of the learner, None if there are none."""
    topic = pipeline.topic("metrics")
    of_partitions = [
        next(_bodies(newest_first(broker, TopicPartition(topic, number), start, end)), None)
        for number, (start, end) in enumerate(broker.offsets(topic))
    ]
    written = [body for body in of_partitions if body is not None]  # the learner writes to one partition
    return max(written, key=lambda body: int(body["labels"]), default=None)


def _bodies(records: Iterator[Record]) -> Iterator[dict[str, Any]]:
    """Yield the metrics in records of the metrics topic, without those that the learner did not write."""
    for record in records:
        try:
            body = orjson.loads(record.value or b"")
        except orjson.JSONDecodeError:
            continue
        if isinstance(body, dict) and body.keys() >= {"model", "labels", "metrics"}:
            yield body
