"""Checks the fields of a record against their declaration."""

from collections.abc import Mapping
from typing import Any

from flows.core.stream.fields import Field, Flag, Number, Time
from flows.core.stream.json_types import kind_of
from flows.errors import InvalidRecord

EXACT = 2**53  # a float holds every whole number up to this one


def check(payload: Any, fields: Mapping[str, Field]) -> None:
    """Raise `InvalidRecord` unless `payload` is an object whose `fields` are all as declared.

    A field that is not required may be missing or null. Fields that are not declared are ignored.
    """
    if type(payload) is not dict:
        raise InvalidRecord("schema", f"must be a JSON object, got {kind_of(payload)}")
    for name, field in fields.items():
        value = payload.get(name)
        if value is None:
            if field.required:
                raise InvalidRecord("schema", f"field {name!r} is missing")
        elif fault := field.fault(value):
            raise InvalidRecord("schema", f"field {name!r} {fault}")


def normalized(payload: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Return the declared fields of a valid payload.

    A `Time` becomes milliseconds, a `Flag` becomes true or false, and a whole number that no float holds
    becomes the nearest float.
    """
    return {
        name: None if payload[name] is None else _normalized(field, payload[name])
        for name, field in fields.items()
        if name in payload
    }


def _normalized(field: Field, value: Any) -> Any:
    if isinstance(field, Time | Flag):
        return field.read(value)
    return nearest(value) if isinstance(field, Number) else value


def nearest(number: float) -> float:
    """Return the number; a whole number beyond 2^53 becomes the float nearest to it.

    >>> nearest(2**53), nearest(2**53 + 1)
    (9007199254740992, 9007199254740992.0)
    """
    return number if -EXACT <= number <= EXACT else float(number)
