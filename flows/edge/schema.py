"""Checks the features of an event against those that the model was exported with."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "number": (int, float),
    "whole": (int,),
    "text": (str,),
    "flag": (bool,),
}
_EXACT = 2**53  # a larger whole number is read as the nearest float, as by Driftline


class Schema:
    """The features of a model in their order.

    Each has a `kind`, whether it may be null (`optional`), and for numbers and texts its limits.
    """

    def __init__(self, features: Mapping[str, Mapping[str, Any]]) -> None:
        self._features = features

    def checked(self, event: Any) -> dict[str, Any]:
        """Return the features of an event in the order of the model.

        A missing one is null. Raises `ValueError` for an event of another form.
        """
        if not isinstance(event, dict) or type(event.get("id")) not in (str, int):
            raise ValueError('an event must be {"id": ..., "features": {...}}')
        given = event.get("features")
        if not isinstance(given, dict):
            raise ValueError("'features' must be an object with the features by their names")
        if unknown := given.keys() - self._features.keys():
            raise ValueError(f"{min(unknown)!r} is no feature of the model; leave it out")
        return {name: _value(name, field, given.get(name)) for name, field in self._features.items()}


def _value(name: str, field: Mapping[str, Any], value: Any) -> Any:
    """Return a valid value; raises `ValueError` for another one."""
    if value is None:
        if not field["optional"]:
            raise ValueError(f"feature {name!r} must not be missing or null")
        return None
    kind = field["kind"]
    if type(value) not in _TYPES[kind]:
        raise ValueError(f"feature {name!r} must be a {kind}, got {type(value).__name__}")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"feature {name!r} must be finite, got {value}")
    if kind == "text":
        _check_limits(name, field, "have a length", len(value))
    elif kind != "flag":
        _check_limits(name, field, "be", value)
        return float(value) if kind == "number" and abs(value) > _EXACT else value
    return value


def _check_limits(name: str, field: Mapping[str, Any], what: str, size: float) -> None:
    if not field["low"] <= size <= field["high"]:
        raise ValueError(f"feature {name!r} must {what} from {field['low']} to {field['high']}, got {size}")
