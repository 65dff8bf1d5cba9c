"""Checks messages against the JSON schemas in docs/schemas."""

import json

import orjson
from jsonschema import Draft202012Validator
from places import DOCS

from flows.core.stream.broker import Record


def schema(name: str) -> dict:
    return json.loads((DOCS / "schemas" / f"{name}.json").read_text())


def check(name: str, message: object) -> None:
    """Fail unless the message matches the schema and has no field that the schema does not name."""
    errors = list(Draft202012Validator(_closed(schema(name))).iter_errors(message))
    assert errors == [], (name, message)


def _closed(part: object) -> object:
    """Return the schema with `additionalProperties` false wherever it names properties."""
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
