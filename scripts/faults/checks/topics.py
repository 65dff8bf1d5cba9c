"""Reads a run from its topics, without the decoders and joins of the engine."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from flows.core.stream.broker import Outgoing, Record
from scripts.faults.site import Log


def features_of(log: Log, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features that a prediction was made with, by name."""
    names = _NAMES.setdefault(id(log), log.running.pipeline.feature_names(log.running.state.plan()))
    return dict(zip(names, body["features"], strict=True))


_NAMES: dict[int, tuple[str, ...]] = {}


def pairs(log: Log) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield each event's first prediction with its first truth."""
    for body, label in labelled(log):
        yield body, json_of(label)[log.running.pipeline.target]


def labelled(log: Log) -> Iterator[tuple[dict[str, Any], Record]]:
    """Yield each event's first prediction with the record of its first label."""
    pipeline = log.running.pipeline
    labels: dict[str, Record] = {}
    for record in log.records(pipeline.labels.topic):
        if (body := json_of(record)) is not None:
            labels.setdefault(body[pipeline.labels.id], record)
    for body, _ in bodies(log, "predictions"):
        if (label := labels.pop(body["id"], None)) is not None:
            yield body, label


def first_of_each(log: Log, stream: Any) -> dict[str, str]:
    """Return the place of the first valid record of each id."""
    places: dict[str, str] = {}
    for record in log.records(stream.topic):
        if (body := json_of(record)) is not None:
            places.setdefault(body[stream.id], place_of(record))
    return places


def unusable(log: Log, stream: Any) -> Iterator[str]:
    """Yield the places of records with invalid JSON or a repeated id."""
    seen = set()
    for record in log.records(stream.topic):
        body = json_of(record)
        if body is None or body[stream.id] in seen:
            yield place_of(record)
        else:
            seen.add(body[stream.id])


def overtaken(log: Log) -> Iterator[str]:
    """Yield the places of candidates that came after one of a later trigger."""
    latest = 0
    for body, place in bodies(log, "models"):
        if body["role"] == "candidate" and place.split("/")[1] == "0":
            latest = max(latest, body["sequence"])
            if body["sequence"] < latest:
                yield place


def bodies(log: Log, kind: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the JSON of each record on the pipeline's topic of this kind, with its place."""
    for record in log.records(log.running.pipeline.topic(kind)):
        yield orjson.loads(record.value or b""), place_of(record)


def last_of(log: Log, kind: str) -> dict[str, Any]:
    """Return the last record on the pipeline's topic of this kind."""
    *_, (body, _) = bodies(log, kind)
    return body


def json_of(record: Record) -> Any:
    """Return the JSON of a record, None if it has none."""
    try:
        return orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None


def place_of(record: Record) -> str:
    """Return "topic/partition/offset" of a record."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def origin_of(record: Record) -> str:
    """Return the place of the record that a dead letter is about."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    return f"{headers['topic']}/{headers['partition']}/{headers['offset']}"


def as_sent(record: Record) -> Outgoing:
    """Return the record as it was sent."""
    return Outgoing(
        record.topic, record.value, record.key, record.partition, record.timestamp, record.headers
    )


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield the items in lists of `size` at most."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
