"""The schema of a drift signal's JSON, and its checks."""

from collections.abc import Collection
from typing import Any, get_args

import orjson

from flows.core.drift.levels import DriftKind, Level, Severity, SignalDetector, Status
from flows.core.stream.checker import check
from flows.core.stream.fields import Field, Number, Text, Time
from flows.errors import InvalidRecord

TIME = Time()
TYPE = "io.driftline.drift."
KINDS: dict[str, DriftKind] = {TYPE + kind: kind for kind in get_args(DriftKind)}

_COUNT = Number(low=0, high=2**63 - 1)
_EVENT_FIELDS: dict[str, Field] = {
    "id": Text(),
    "source": Text(longest=1024),
    "type": Text(),
    "subject": Text(),
    "time": TIME,
}
_INTEGERS: dict[str, Field] = {"sequence": _COUNT, "width": _COUNT, "partition": _COUNT, "offset": _COUNT}
DATA_FIELDS: dict[str, Field] = {
    "pipeline": Text(),
    "topic": Text(),
    "detector": Text(),
    "level": Text(),
    "severity": Text(),
    "status": Text(),
    "estimate_before": Number(),
    "estimate_after": Number(),
    "since": TIME,
    **_INTEGERS,
}
_NAME = Text(longest=1024)
_NAME_OR_NULL = Text(required=False, longest=1024)
COLUMN_FIELDS: dict[str, Field] = {
    "name": _NAME,
    "before": Number(),
    "after": Number(),
    "psi": Number(required=False),
    "p_value": Number(required=False),
    "category": _NAME_OR_NULL,
    "fault": _NAME_OR_NULL,
}
SLICE_FIELDS: dict[str, Field] = {
    "column": _NAME,
    "value": _NAME,
    "before": Number(),
    "after": Number(),
    "rows": _COUNT,
}


def decode(body: bytes) -> Any:
    """Return the message as plain data with checked types; raises `InvalidRecord` ("schema")."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord("schema", f"not JSON: {error}") from None
    check(event, _EVENT_FIELDS)
    if event.get("specversion") != "1.0":
        raise InvalidRecord("schema", "field 'specversion' must be \"1.0\"")
    _check_one_of(KINDS, event["type"], "type")
    data = event.get("data")
    check(data, DATA_FIELDS)
    for name in _INTEGERS:
        if type(data[name]) is not int:
            raise InvalidRecord("schema", f"field {name!r} must be a whole number")
    _check_one_of(get_args(SignalDetector), data["detector"], "detector")
    _check_one_of(get_args(Level), data["level"], "level")
    _check_one_of(get_args(Severity), data["severity"], "severity")
    _check_one_of(get_args(Status), data["status"], "status")
    _check_list(data.get("columns"), COLUMN_FIELDS, "columns")
    _check_list(data.get("slices"), SLICE_FIELDS, "slices")
    return event


def known_fields(item: dict[str, Any], fields: dict[str, Field]) -> dict[str, Any]:
    """Return an object without the fields that this version does not know."""
    return {name: item[name] for name in fields if name in item}


def _check_list(items: Any, fields: dict[str, Field], name: str) -> None:
    if type(items) is not list:
        raise InvalidRecord("schema", f"field {name!r} must be an array")
    for item in items:
        check(item, fields)


def _check_one_of(values: Collection[str], value: str, name: str) -> None:
    if value not in values:
        raise InvalidRecord("schema", f"field {name!r} must be one of {', '.join(values)}")
