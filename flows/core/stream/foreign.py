"""Names the formats of other systems that a topic may hold, and what to do: for the details of dead letters.

It is asked only about records that were refused.
"""

from typing import Any

from flows.core.stream.broker import Record

_FRAME = 5  # bytes: 0, and the schema's id
_SCHEMA_HEADERS = ("__value_schema_id", "__key_schema_id")
_OPERATION = 8  # characters at most of a change event's `op`


def not_json(record: Record, error: str) -> str:
    """What the value is that is no JSON; `error` is the parser's."""
    value = record.value
    if value is None:
        return "the value is null (a tombstone); send a JSON object"
    if not value:
        return "the value is empty; send a JSON object"
    if value[0] == 0 and len(value) > _FRAME:
        number, inner = int.from_bytes(value[1:_FRAME]), value[_FRAME:].lstrip()[:1]
        what = "JSON" if inner in (b"{", b"[") else "Avro or Protobuf"
        return f"the value is framed for a schema registry (schema id {number}, {what}); {_PLAIN}"
    if any(name in _SCHEMA_HEADERS for name, _ in record.headers):
        return f"the value has a format of a schema registry, by its headers, and is no JSON; {_PLAIN}"
    return error


_PLAIN = "send plain JSON: with a serializer that knows no registry, or through a connector's JsonConverter"


def envelope(payload: Any) -> str:
    """What JSON that is not as declared is wrapped in, to follow the fault; empty where nothing is known.

    >>> envelope({"before": None, "after": {"id": "1"}, "op": "c"})[:42]
    "; it is a change event of Debezium (op 'c'"
    >>> envelope({"id": 1})
    ''
    """
    is_wrapped = type(payload) is dict and payload.keys() == {"schema", "payload"}
    inner = payload["payload"] if is_wrapped else payload
    if type(inner) is dict and _is_change(inner):
        return (
            f"; it is a change event of Debezium (op {inner['op']!r}): let the connector send the row alone, "
            "by its transform ExtractNewRecordState, with value.converter.schemas.enable=false"
        )
    if is_wrapped and type(payload["schema"]) is dict:
        return (
            "; it is wrapped with its schema by Kafka Connect's JsonConverter: set "
            "value.converter.schemas.enable=false"
        )
    return ""


def _is_change(payload: dict[str, Any]) -> bool:
    operation = payload.get("op")
    is_operation = type(operation) is str and len(operation) <= _OPERATION
    return is_operation and ("before" in payload or "after" in payload)
