"""Checks messages against the JSON schemas in docs/schemas."""

import json

import orjson
from jsonschema import Draft202012Validator
from places import DOCS

from flows.core.stream.broker import Record


def schema(name: str) -> dict:
    return json.loads((DOCS / "schemas" / f"{name}.json").read_text())


def check(name: str, message: object) -> None:
    """Fail unless the message is as the schema says and has no field that the schema is silent about."""
    errors = list(Draft202012Validator(_closed(schema(name))).iter_errors(message))
    assert errors == [], (name, message)


def _closed(part: object) -> object:
    """The schema, with no objects but those of the properties that it names."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(value) for key, value in part.items()}
    if isinstance(part.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def check_all(name: str, records: list[Record]) -> None:
    assert records
    for record in records:
        check(name, orjson.loads(record.value or b""))
