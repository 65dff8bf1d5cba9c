"""The JSON types, as errors name them."""

from typing import Any

_KINDS = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


def kind_of(value: Any) -> str:
    """Return the JSON type of `value`, with its article."""
    return _KINDS.get(type(value), "a number")


def json_type(value: Any) -> type:
    """Return the type of a JSON value; integers and floats are one type."""
    return float if type(value) is int else type(value)
