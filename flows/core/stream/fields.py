"""The fields of a record: their types, limits and units, declared as data."""

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
_EARLY = 49 * 86_400_000  # a time up to 2099, read as one of a unit 1000 times smaller, is before this
INT64 = (-(2**63), 2**63 - 1)
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
        """What is wrong with `value`, or None."""
        if type(value) is not str:
            return f"must be a string, not {kind_of(value)}"
        if not 0 < len(value) <= self.longest:
            return f"must have 1 to {self.longest} characters, not {len(value)}"
        return None


@dataclass(frozen=True)
class Key:
    """The key of an entity, or an event's id: a string of 1 to 256 characters or an integer of 64 bits.

    Which of the two a record must have is what Feast declares of the entity, unless `kind` says it already.
    A key that is no entity's, such as an id, may be either; an event's id is the text of it, so that 1 and
    "1" are the same event.
    """

    required: bool = True
    kind: KeyKind | None = None

    def __post_init__(self) -> None:
        kinds = arguments.optional(arguments.one_of(("text", "integer")))
        arguments.check("Key", self, {"required": arguments.flag, "kind": kinds})

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if type(value) is str and self.kind != "integer":
            return KEY_TEXT.fault(value)
        if type(value) is int and self.kind != "text":
            low, high = INT64
            return None if low <= value <= high else "must be an integer of 64 bits"
        wanted = {None: "a string or an integer", "text": "a string"}.get(self.kind, "an integer")
        as_declared = f", as the key is declared, got {arguments.shown(value)}" if self.kind else ""
        return f"must be {wanted}{as_declared or f', not {kind_of(value)}'}"


@dataclass(frozen=True)
class Number:
    """A finite number between `low` and `high`, both included. True and false are no numbers.

    It is a float of 64 bits: a whole number beyond 2^53 is read as the float nearest to it.
    The squares of all numbers in the default range are finite too.
    """

    low: float = -1e150
    high: float = 1e150
    required: bool = True

    def __post_init__(self) -> None:
        bounds = {"low": arguments.number, "high": arguments.number}
        arguments.check("Number", self, {**bounds, "required": arguments.flag})
        if self.low > self.high:
            raise arguments.refused(
                f"Number: `low` must not be above `high`, got {self.low} and {self.high}; "
                f"write Number({self.high}, {self.low})"
            )

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if type(value) is not float and type(value) is not int:
            return f"must be a number, not {kind_of(value)}"
        if not self.low <= value <= self.high:
            return f"must be between {self.low:g} and {self.high:g}, not {value}"
        return None


@dataclass(frozen=True)
class Flag:
    """True or false; neither 0 and 1 nor "true" and "false", unless `true` and `false` say so.

    `true` and `false` are the values that stand for them in the records, such as 1 and 0 or "yes" and "no".
    Behind the decoder they are true and false.
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
        """Whether the records have other values than true and false."""
        return self.true is not True or self.false is not False

    def read(self, value: Any) -> bool | None:
        """The truth of a value in a record; None for one that is not arguments."""
        if json_type(value) is not json_type(self.true):
            return None
        return True if value == self.true else False if value == self.false else None

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if self.read(value) is not None:
            return None
        if self.is_mapped:
            return f"must be {self.true!r} or {self.false!r}, as declared, got {arguments.shown(value)}"
        return f"must be true or false, not {kind_of(value)}"


@dataclass(frozen=True)
class Time:
    """A moment between the years 1970 and 2100.

    Written as ISO 8601 with an offset, or as a number of `unit` since 1970. A number that would be in the
    first seven weeks of 1970 is refused where in another unit it would be in the years 2001 to 2099.
    Behind the decoder it is in whole milliseconds.
    """

    required: bool = True
    unit: TimeUnit = "ms"

    def __post_init__(self) -> None:
        units = arguments.one_of(tuple(_NANOSECONDS))
        arguments.check("Time", self, {"required": arguments.flag, "unit": units})

    def read(self, value: Any) -> int:
        """Return the moment in milliseconds; raises ValueError with the reason for any other value."""
        kind = type(value)
        if kind is str:
            return milliseconds(value)
        if kind is not int and kind is not float:
            raise ValueError(f"must be a time, not {kind_of(value)}")
        time = value if kind is int and self.unit == "ms" else _scaled(value, _NANOSECONDS[self.unit])
        if not _EARLY <= time < YEAR_2100:
            self._refuse_others(value, time)
        return time

    def read_or_none(self, value: Any) -> int | None:
        """Return the moment in milliseconds, or None for any other value."""
        try:
            return milliseconds(value) if type(value) is str else self.read(value)
        except ValueError:
            return None

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        try:
            self.read(value)
        except ValueError as error:
            return str(error)
        return None

    def _refuse_others(self, value: float, time: int) -> None:
        """Raise ValueError unless the number is a moment early in 1970 that is meant."""
        guess = next((u for u in _NANOSECONDS if u != self.unit and _is_of_our_days(value, u)), None)
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
    """So many units of that length in whole milliseconds; -1 for infinity and NaN."""
    if type(value) is int:
        return (value * nanoseconds + 500_000) // 1_000_000
    time = value * (nanoseconds / 1_000_000)
    return round(time) if isfinite(time) else -1


def _is_of_our_days(value: float, unit: TimeUnit) -> bool:
    nanoseconds = _NANOSECONDS[unit]
    return _YEAR_2001 * 10**6 <= value * nanoseconds < YEAR_2100 * 10**6


def spelled(field: Field) -> str:
    """How the field is declared, without what is so by default.

    >>> spelled(Flag()), spelled(Number(low=0, required=False))
    ('Flag()', 'Number(low=0, required=False)')
    """
    default = type(field)()
    given = ((each.name, getattr(field, each.name)) for each in fields_of(field))
    different = ", ".join(f"{name}={value!r}" for name, value in given if value != getattr(default, name))
    return f"{type(field).__name__}({different})"


def resolved(fields: Mapping[str, Field], kinds: Mapping[str, KeyKind]) -> dict[str, Field]:
    """The fields, with the kind of each `Key` among `kinds` that has none of its own."""
    return {
        name: replace(field, kind=kinds.get(name)) if isinstance(field, Key) and not field.kind else field
        for name, field in fields.items()
    }
