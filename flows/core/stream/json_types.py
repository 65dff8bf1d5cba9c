"""The types of JSON, by which errors name what a record holds."""

from typing import Any

_KINDS = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


def kind_of(value: Any) -> str:
    """Name the JSON type of `value`, with its article."""
    return _KINDS.get(type(value), "a number")


def json_type(value: Any) -> type:
    """The type of a value in JSON, where integers and floats are one."""
    return float if type(value) is int else type(value)
