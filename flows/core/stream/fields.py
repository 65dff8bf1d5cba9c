"""The declared fields of a record: their types, limits and units."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from math import isfinite
from typing import Any, Literal

from flows.core import arguments
from flows.core.stream.json_types import json_type, kind_of
from flows.core.stream.times import YEAR_2100, iso, milliseconds

Scalar = bool | int | float | str
KeyKind = Literal["text", "integer"]
TimeUnit = Literal["s", "ms", "us", "ns"]

_YEAR_2001 = 978_307_200_000
EARLY = 49 * 86_400_000  # a time up to 2099 is before this when read in a unit 1000 times smaller
INT64 = range(-(2**63), 2**63)
_NANOSECONDS: dict[TimeUnit, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


@dataclass(frozen=True)
class Text:
    """A string of 1 to `longest` characters."""

    required: bool = True
    longest: int = 256

    def __post_init__(self) -> None:
        arguments.check("Text", self, {"required": arguments.flag, "longest": arguments.whole(1)})

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None."""
        if type(value) is not str:
            return f"must be a string, got {kind_of(value)}"
        if not 0 < len(value) <= self.longest:
            return f"must have 1 to {self.longest} characters, got {len(value)}"
        return None


@dataclass(frozen=True)
class Key:
    """The key of an entity, or an event's id: a string of 1 to 256 characters or a 64-bit integer.

    Feast's declaration of the entity decides which of the two a record must have, unless `kind` does. A key
    of no entity, such as an id, may be either. An id is compared as text: 1 and "1" are the same event.
    """

    required: bool = True
    kind: KeyKind | None = None

    def __post_init__(self) -> None:
        kinds = arguments.optional(arguments.one_of(("text", "integer")))
        arguments.check("Key", self, {"required": arguments.flag, "kind": kinds})

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None."""
        if type(value) is str and self.kind != "integer":
            return KEY_TEXT.fault(value)
        if type(value) is int and self.kind != "text":
            return None if value in INT64 else "must be a 64-bit integer"
        wanted = {None: "a string or an integer", "text": "a string"}.get(self.kind, "an integer")
        if self.kind:
            return f"must be {wanted}, as the key is declared, got {arguments.shown(value)}"
        return f"must be {wanted}, got {kind_of(value)}"


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`, both included; true and false are not numbers.

    It is a 64-bit float: a whole number beyond 2^53 is read as the nearest float. Squares of all numbers in
    the default range are finite.
    """

    low: float = -1e150
    high: float = 1e150
    required: bool = True

    def __post_init__(self) -> None:
        bounds = {"low": arguments.number, "high": arguments.number}
        arguments.check("Number", self, {**bounds, "required": arguments.flag})
        if self.low > self.high:
            raise arguments.refused(
                f"Number: `low` must be at most `high`, got {self.low} and {self.high}; "
                f"write Number({self.high}, {self.low})"
            )

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None."""
        if type(value) is not float and type(value) is not int:
            return f"must be a number, got {kind_of(value)}"
        if not self.low <= value <= self.high:
            return f"must be between {self.low:g} and {self.high:g}, got {value}"
        return None


@dataclass(frozen=True)
class Flag:
    """True or false.

    `true` and `false` are the values that represent them in the records, such as 1 and 0 or "yes" and "no".
    The decoder converts them to true and false.
    """

    required: bool = True
    true: Scalar = True
    false: Scalar = False

    def __post_init__(self) -> None:
        scalar = arguments.instance_of(bool, int, float, str)
        arguments.check("Flag", self, {"required": arguments.flag, "true": scalar, "false": scalar})
        if self.true == self.false or json_type(self.true) is not json_type(self.false):
            raise arguments.refused(
                "Flag: `true` and `false` must be two different values of one type, such as "
                f"Flag(true=1, false=0), got {self.true!r} and {self.false!r}"
            )

    @property
    def is_mapped(self) -> bool:
        """Whether the records have values other than true and false."""
        return self.true is not True or self.false is not False

    def read(self, value: Any) -> bool | None:
        """Return the truth of a value in a record; None for any other value."""
        if json_type(value) is not json_type(self.true):
            return None
        return True if value == self.true else False if value == self.false else None

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None."""
        if self.read(value) is not None:
            return None
        if self.is_mapped:
            return f"must be {self.true!r} or {self.false!r}, as declared, got {arguments.shown(value)}"
        return f"must be true or false, got {kind_of(value)}"


@dataclass(frozen=True)
class Time:
    """A time from 1970 to 2099, as ISO 8601 with an offset or as a number of `unit` since 1970.

    A number in the first seven weeks of 1970 is refused if in another unit it would be in 2001 to 2099. The
    decoder converts times to whole milliseconds.
    """

    required: bool = True
    unit: TimeUnit = "ms"

    def __post_init__(self) -> None:
        units = arguments.one_of(tuple(_NANOSECONDS))
        arguments.check("Time", self, {"required": arguments.flag, "unit": units})

    def read(self, value: Any) -> int:
        """Return the time in milliseconds; raises ValueError with the reason for any other value."""
        kind = type(value)
        if kind is str:
            return milliseconds(value)
        if kind is not int and kind is not float:
            raise ValueError(f"must be a time, got {kind_of(value)}")
        time = value if kind is int and self.unit == "ms" else _scaled(value, _NANOSECONDS[self.unit])
        if not EARLY <= time < YEAR_2100:
            self._refuse_others(value, time)
        return time

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None."""
        try:
            self.read(value)
        except ValueError as error:
            return str(error)
        return None

    def _refuse_others(self, value: float, time: int) -> None:
        """Raise ValueError unless `time` (ms) is valid and `value` does not look like another unit."""
        guess = next((u for u in _NANOSECONDS if u != self.unit and _is_plausible(value, u)), None)
        advice = guess and f"it looks like {_UNIT_NAMES[guess]}: declare Time(unit={guess!r})"
        if not 0 <= time < YEAR_2100:
            hint = f", got {value}; {advice}" if advice else ""
            raise ValueError(f"must be a time in {self.unit} between the years 1970 and 2100{hint}")
        if advice:
            would_be = iso(time)[:10]
            raise ValueError(
                f"must be a time in {self.unit}, got {value}, which would be {would_be}; {advice}"
            )


Field = Text | Key | Number | Flag | Time

KEY_TEXT = Text()


def _scaled(value: float, nanoseconds: int) -> int:
    """Convert a number of units of `nanoseconds` length to whole milliseconds; -1 for infinity and NaN."""
    if type(value) is int:
        return (value * nanoseconds + 500_000) // 1_000_000
    time = value * (nanoseconds / 1_000_000)
    return round(time) if isfinite(time) else -1


def _is_plausible(value: float, unit: TimeUnit) -> bool:
    nanoseconds = _NANOSECONDS[unit]
    return _YEAR_2001 * 10**6 <= value * nanoseconds < YEAR_2100 * 10**6


def spelled(field: Field) -> str:
    """Return how the field is declared, without default arguments.

    >>> spelled(Flag()), spelled(Number(low=0, required=False))
    ('Flag()', 'Number(low=0, required=False)')
    """
    default = type(field)()
    given = ((each.name, getattr(field, each.name)) for each in fields_of(field))
    different = ", ".join(f"{name}={value!r}" for name, value in given if value != getattr(default, name))
    return f"{type(field).__name__}({different})"


def resolved(fields: Mapping[str, Field], kinds: Mapping[str, KeyKind]) -> dict[str, Field]:
    """Return the fields, with `kinds` filled in for each `Key` that declares none."""
    return {
        name: replace(field, kind=kinds.get(name)) if isinstance(field, Key) and not field.kind else field
        for name, field in fields.items()
    }
