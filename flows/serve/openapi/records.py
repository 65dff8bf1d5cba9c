"""The records of a stream as JSON schemas with examples."""

from typing import Any

from flows.core.stream.fields import INT64, Field, Flag, Key, Number, Text, Time
from flows.pipeline import Stream

_TIME = "2026-01-31T12:00:00Z"
_ID = "A-4711"


def record_schema(stream: Stream, decoded: dict[str, Field]) -> dict[str, Any]:
    """Return the schema of a stream's records; `decoded` are its fields, with the kinds of the keys."""
    return {
        "type": "object",
        "properties": {name: _field_schema(field) for name, field in decoded.items()},
        "required": [name for name, field in decoded.items() if field.required],
        "example": record_example(stream, decoded),
    }


def record_example(stream: Stream, decoded: dict[str, Field]) -> dict[str, Any]:
    """Return a record with a valid value of each field."""
    found = {name: value_example(name, field) for name, field in decoded.items()}
    if not isinstance(found[stream.id], int):
        found[stream.id] = _ID
    return found


def value_example(name: str, field: Field) -> Any:
    """Return a valid value of a field."""
    if isinstance(field, Time):
        return _TIME
    if isinstance(field, Flag):
        return field.true
    if isinstance(field, Number):
        return max(field.low, min(1.0, field.high))
    if isinstance(field, Key) and field.kind == "integer":
        return 4711
    return name[: field.longest] if isinstance(field, Text) else name


def _field_schema(field: Field) -> dict[str, Any]:
    found = _required_schema(field)
    return found if field.required else {"anyOf": [found, {"type": "null"}]}


def _required_schema(field: Field) -> dict[str, Any]:
    if isinstance(field, Text):
        return {"type": "string", "minLength": 1, "maxLength": field.longest}
    if isinstance(field, Number):
        return {"type": "number", "minimum": field.low, "maximum": field.high}
    if isinstance(field, Flag):
        return {"enum": [field.true, field.false]}
    if isinstance(field, Key):
        text = {"type": "string", "minLength": 1, "maxLength": 256}
        whole = {"type": "integer", "minimum": INT64.start, "maximum": INT64.stop - 1}
        return {"text": text, "integer": whole}.get(field.kind or "", {"anyOf": [text, whole]})
    unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[field.unit]
    return {
        "description": f"ISO 8601 with an offset, or a number of {unit} since 1970; before 2100",
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}],
    }
