"""Recognizes formats of other systems, to say in a dead letter's detail what to change at the producer.

Runs only for records that were refused.
"""

from typing import Any

from flows.core.stream.broker import Record

_FRAME = 5  # bytes: a zero and the schema id
_SCHEMA_HEADERS = ("__value_schema_id", "__key_schema_id")
_OPERATION = 8  # longest `op` of a change event


def not_json(record: Record, error: str) -> str:
    """Describe a value that is not JSON; `error` is the parser's message."""
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
        return f"the value has the headers of a schema registry and is not JSON; {_PLAIN}"
    return error


_PLAIN = "send plain JSON: use a serializer without a registry, or the connector's JsonConverter"


def envelope(payload: Any) -> str:
    """Return a hint for JSON wrapped in a known envelope, to append to the fault; empty if there is none.

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
            "with the transform ExtractNewRecordState and value.converter.schemas.enable=false"
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
