"""What a record's fields must look like, declared as data and checked for every record."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.errors import InvalidRecord

_YEAR_2100 = 4_102_444_800_000
EXACT = 2**53  # up to here a float holds every whole number


@dataclass(frozen=True)
class Text:
    """A string of 1 to `longest` characters."""

    required: bool = True
    longest: int = 256

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if type(value) is not str:
            return f"must be a string, not {_kind(value)}"
        if not 0 < len(value) <= self.longest:
            return f"must have 1 to {self.longest} characters, not {len(value)}"
        return None


@dataclass(frozen=True)
class Number:
    """A finite number between `low` and `high`, both included. True and false are no numbers.

    It is a float of 64 bits: a whole number beyond 2^53 is read as the float nearest to it.
    The squares of all numbers in the default range are finite too.
    """

    low: float = -1e150
    high: float = 1e150
    required: bool = True

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if type(value) is not float and type(value) is not int:
            return f"must be a number, not {_kind(value)}"
        if not self.low <= value <= self.high:
            return f"must be between {self.low:g} and {self.high:g}, not {value}"
        return None


@dataclass(frozen=True)
class Flag:
    """True or false; neither 0 and 1 nor "true" and "false"."""

    required: bool = True

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        return None if type(value) is bool else f"must be true or false, not {_kind(value)}"


@dataclass(frozen=True)
class Time:
    """A moment between the years 1970 and 2100.

    Written as ISO 8601 with an offset, or as a whole number of milliseconds since 1970.
    """

    required: bool = True

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        try:
            milliseconds(value)
        except ValueError as error:
            return str(error)
        return None


Field = Text | Number | Flag | Time


def milliseconds(value: Any) -> int:
    """A moment in milliseconds since 1970 (UTC), from ISO 8601 with an offset or from such a number.

    Raises ValueError, with the reason, for anything else and for years outside 1970 to 2099.

    >>> milliseconds("2013-01-01T05:15:00-05:00")
    1357035300000
    """
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a time in ISO 8601") from None
        if moment.tzinfo is None:
            raise ValueError("must be a time with an offset from UTC, such as a final Z")
        time = round(moment.timestamp() * 1000)
    elif type(value) is int:
        time = value
    else:
        raise ValueError(f"must be a time, not {_kind(value)}")
    if not 0 <= time < _YEAR_2100:
        raise ValueError("must be a time between the years 1970 and 2100")
    return time


def in_milliseconds(duration: timedelta) -> int:
    """A duration in whole milliseconds."""
    return round(duration.total_seconds() * 1000)


def iso(time: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC.

    >>> iso(1357035300000)
    '2013-01-01T10:15:00.000Z'
    """
    moment = datetime.fromtimestamp(time / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check(payload: Any, fields: Mapping[str, Field]) -> None:
    """Raise `InvalidRecord` unless `payload` is an object whose `fields` are all as declared.

    A field that is not required may be missing or null. Fields that are not declared pass unread.
    """
    if type(payload) is not dict:
        raise InvalidRecord("schema", f"must be a JSON object, not {_kind(payload)}")
    for name, field in fields.items():
        value = payload.get(name)
        if value is None:
            if field.required:
                raise InvalidRecord("schema", f"field {name!r} is missing")
        elif fault := field.fault(value):
            raise InvalidRecord("schema", f"field {name!r} {fault}")


class Checker:
    """`check` for one declaration, fast for records that are as declared.

    Whether a record is so is one expression, made as source from the declaration; only what is not is looked
    at field by field.

    >>> print(_expression({"origin": Text(), "delay": Number(0, 9, required=False)}))
    type(p) is dict
    and (type(v := p.get('origin')) is str and 0 < len(v) <= 256)
    and ((v := p.get('delay')) is None or (type(v) is float or type(v) is int) and low1 <= v <= high1)
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        names: dict[str, Any] = {}
        for number, field in enumerate(fields.values()):
            names[f"field{number}"] = field
            if isinstance(field, Number):
                names |= {f"low{number}": max(field.low, -EXACT), f"high{number}": min(field.high, EXACT)}
        self._is_fine = eval(f"lambda p: ({_expression(fields)})", names)  # noqa: S307  of what is made here

    def __call__(self, payload: Any) -> None:
        """Raise what `check` raises; whole numbers that no float holds become the nearest floats."""
        if not self._is_fine(payload):
            check(payload, self._fields)
            for name, field in self._fields.items():
                if isinstance(field, Number) and payload.get(name) is not None:
                    payload[name] = nearest(payload[name])


def nearest(number: float) -> float:
    """The number, or the float nearest to a whole number beyond 2^53.

    >>> nearest(2**53), nearest(2**53 + 1)
    (9007199254740992, 9007199254740992.0)
    """
    return number if -EXACT <= number <= EXACT else float(number)


def _expression(fields: Mapping[str, Field]) -> str:
    """True of a payload `p` whose fields are all as declared."""
    conditions = (_condition(name, number, field) for number, (name, field) in enumerate(fields.items()))
    return "\nand ".join(["type(p) is dict", *conditions])


def _condition(name: str, number: int, field: Field) -> str:
    value = f"p.get({name!r})"
    match field:
        case Text(longest=longest):
            kind, rest = "type({}) is str", f" and 0 < len(v) <= {longest!r}"
        case Number():
            kind, rest = "(type({}) is float or type(v) is int)", f" and low{number} <= v <= high{number}"
        case Flag():
            kind, rest = "type({}) is bool", ""
        case Time():
            kind, rest = f"({{}}) is not None and field{number}.fault(v) is None", ""
    if field.required:
        return f"({kind.format(f'v := {value}')}{rest})"
    return f"((v := {value}) is None or {kind.format('v')}{rest})"


_KINDS = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")
