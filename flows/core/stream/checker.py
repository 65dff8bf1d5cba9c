"""Checks the fields of every record against their declaration."""

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from flows.core.stream.fields import Field, Flag, Key, Number, Text, Time
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


class Checker:
    """`check` for one declaration, fast for valid records; it also normalizes values in the payload.

    A `Time` becomes milliseconds, and a `Flag` with declared values becomes true or false. The fields of
    one type are checked in one loop, without a call for each; `check` then names the fault of a record that
    fails.
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        self._texts = [(n, f.longest, f.required) for n, f in fields.items() if isinstance(f, Text)]
        self._numbers = [
            (n, max(f.low, -EXACT), min(f.high, EXACT), f.required)
            for n, f in fields.items()
            if isinstance(f, Number)
        ]
        self._flags = [(n, f.required) for n, f in fields.items() if isinstance(f, Flag) and not f.is_mapped]
        self._keys = [(n, f) for n, f in fields.items() if isinstance(f, Key)]
        self._converted = [(n, _converter(f), f.required) for n, f in fields.items() if _is_converted(f)]

    def __call__(self, payload: Any) -> None:
        """Raise what `check` raises; whole numbers that no float holds become the nearest floats."""
        is_valid = type(payload) is dict and self._is_valid(payload)
        if not is_valid or (self._converted and not self._convert(payload)):
            self._check_each(payload)

    def _check_each(self, payload: Any) -> None:
        check(payload, self._fields)
        payload |= {
            name: _normalized(field, payload[name])
            for name, field in self._fields.items()
            if payload.get(name) is not None
        }

    def _is_valid(self, payload: dict[str, Any]) -> bool:
        """Return whether all fields that are not converted are valid, and all numbers exact as floats."""
        get = payload.get
        for name, longest, required in self._texts:
            value = get(name)
            if (type(value) is not str or not 0 < len(value) <= longest) and (value is not None or required):
                return False
        for name, low, high, required in self._numbers:
            value = get(name)
            if ((type(value) is not float and type(value) is not int) or not low <= value <= high) and (
                value is not None or required
            ):
                return False
        for name, required in self._flags:
            value = get(name)
            if type(value) is not bool and (value is not None or required):
                return False
        for name, key in self._keys:
            value = get(name)
            if key.required if value is None else key.fault(value):
                return False
        return True

    def _convert(self, payload: dict[str, Any]) -> bool:
        """Convert times and mapped flags in place; return False, and change nothing, if one is invalid."""
        converted: dict[str, Any] = {}
        for name, convert, required in self._converted:
            value = payload.get(name)
            if value is None:
                if required:
                    return False
            elif (known := convert(value)) is None:
                return False
            else:
                converted[name] = known
        payload.update(converted)
        return True


def _is_converted(field: Field) -> TypeGuard[Time | Flag]:
    return isinstance(field, Time) or (isinstance(field, Flag) and field.is_mapped)


def _converter(field: Time | Flag) -> Callable[[Any], Any]:
    """Return the function that converts a valid value and gives None for any other."""
    return field.read_or_none if isinstance(field, Time) else field.read


def _normalized(field: Field, value: Any) -> Any:
    """Return what a valid value becomes in the payload."""
    if isinstance(field, Time | Flag):
        return field.read(value)
    return nearest(value) if isinstance(field, Number) else value


def nearest(number: float) -> float:
    """Return the number; a whole number beyond 2^53 becomes the float nearest to it.

    >>> nearest(2**53), nearest(2**53 + 1)
    (9007199254740992, 9007199254740992.0)
    """
    return number if -EXACT <= number <= EXACT else float(number)
