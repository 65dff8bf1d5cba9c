"""The declared fields as a type for msgspec, which parses JSON and checks it in one pass, in C."""

from collections.abc import Mapping
from math import ceil, floor
from sys import float_info
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from flows.core.stream.checker import EXACT
from flows.core.stream.fields import EARLY, INT64, KEY_TEXT, Field, Flag, Key, Number, Text, Time
from flows.core.stream.json_types import json_type
from flows.core.stream.times import YEAR_2100


def payload_type(fields: Mapping[str, Field]) -> Any:
    """Return the type of a payload with these fields only.

    A value that the type accepts is valid, and is read as `check` reads it. The exceptions are times and
    mapped flags, which are still to be converted. The type refuses some valid values, such as a whole
    number beyond 2^53.
    """
    members = {
        name: _type_of(field) if field.required else NotRequired[_type_of(field) | None]
        for name, field in fields.items()
    }
    return TypedDict("Payload", members)  # type: ignore[operator]  # a type made at run time


def _type_of(field: Field) -> Any:
    match field:
        case Text():
            return _text(field.longest)
        case Key():
            text, integer = _text(KEY_TEXT.longest), _integer(INT64.start, INT64.stop - 1)
            return {"text": text, "integer": integer}.get(field.kind or "", text | integer)
        case Number():
            return _number(field.low, field.high)
        case Flag():
            return int | float if json_type(field.true) is float else type(field.true)
        case Time():
            return str | (_integer(EARLY, YEAR_2100 - 1) if field.unit == "ms" else int | float)


def _text(longest: int) -> Any:
    return Annotated[str, Meta(min_length=1, max_length=longest)]


def _integer(low: int, high: int) -> Any:
    return Annotated[int, Meta(ge=low, le=high)]


def _number(low: float, high: float) -> Any:
    """Return the type of a number; whole numbers stay integers, as far as floats hold them exactly."""
    low, high = _bound(low), _bound(high)
    fractional: Any = Annotated[float, Meta(ge=low, le=high)]
    first, last = ceil(max(low, -EXACT)), floor(min(high, EXACT))
    return _integer(first, last) | fractional if first <= last else fractional


def _bound(number: float) -> float:
    """Return the nearest bound that msgspec can compare exactly."""
    largest = EXACT if type(number) is int else float_info.max
    return min(max(number, -largest), largest)
