"""What a record's fields must look like, declared as data and checked for every record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Literal

from flows.core import declared
from flows.errors import InvalidRecord

Scalar = bool | int | float | str
KeyKind = Literal["text", "integer"]
TimeUnit = Literal["s", "ms", "us", "ns"]

YEAR_2100 = 4_102_444_800_000  # the event times that are taken are from 1970 up to but not including this
_YEAR_2001 = 978_307_200_000
_EARLY = 49 * 86_400_000  # a time up to 2099, read as one of a unit 1000 times smaller, is before this
_INT64 = (-(2**63), 2**63 - 1)
_NANOSECONDS: dict[TimeUnit, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
EXACT = 2**53  # up to here a float holds every whole number


@dataclass(frozen=True)
class Text:
    """A string of 1 to `longest` characters."""

    required: bool = True
    longest: int = 256

    def __post_init__(self) -> None:
        declared.check("Text", self, {"required": declared.flag, "longest": declared.whole(1)})

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if type(value) is not str:
            return f"must be a string, not {_kind(value)}"
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
        kinds = declared.optional(declared.one_of(("text", "integer")))
        declared.check("Key", self, {"required": declared.flag, "kind": kinds})

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if type(value) is str and self.kind != "integer":
            return _KEY_TEXT.fault(value)
        if type(value) is int and self.kind != "text":
            low, high = _INT64
            return None if low <= value <= high else "must be an integer of 64 bits"
        wanted = {None: "a string or an integer", "text": "a string"}.get(self.kind, "an integer")
        as_declared = f", as the key is declared, got {declared.shown(value)}" if self.kind else ""
        return f"must be {wanted}{as_declared or f', not {_kind(value)}'}"


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
        bounds = {"low": declared.number, "high": declared.number}
        declared.check("Number", self, {**bounds, "required": declared.flag})
        if self.low > self.high:
            raise declared.refused(
                f"Number: `low` must not be above `high`, got {self.low} and {self.high}; "
                f"write Number({self.high}, {self.low})"
            )

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if type(value) is not float and type(value) is not int:
            return f"must be a number, not {_kind(value)}"
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
        scalar = declared.instance_of(bool, int, float, str)
        declared.check("Flag", self, {"required": declared.flag, "true": scalar, "false": scalar})
        if self.true == self.false or _json_type(self.true) is not _json_type(self.false):
            raise declared.refused(
                "Flag: `true` and `false` must be two different values of one type, such as "
                f"Flag(true=1, false=0), got {self.true!r} and {self.false!r}"
            )

    @property
    def is_mapped(self) -> bool:
        """Whether the records have other values than true and false."""
        return self.true is not True or self.false is not False

    def read(self, value: Any) -> bool | None:
        """The truth of a value in a record; None for one that is not declared."""
        if _json_type(value) is not _json_type(self.true):
            return None
        return True if value == self.true else False if value == self.false else None

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        if self.read(value) is not None:
            return None
        if self.is_mapped:
            return f"must be {self.true!r} or {self.false!r}, as declared, got {declared.shown(value)}"
        return f"must be true or false, not {_kind(value)}"


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
        units = declared.one_of(tuple(_NANOSECONDS))
        declared.check("Time", self, {"required": declared.flag, "unit": units})

    def read(self, value: Any) -> int:
        """Return the moment in milliseconds; raises ValueError with the reason for any other value."""
        kind = type(value)
        if kind is str:
            return milliseconds(value)
        if kind is not int and kind is not float:
            raise ValueError(f"must be a time, not {_kind(value)}")
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

_KEY_TEXT = Text()


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


def milliseconds(value: Any) -> int:
    """A moment in milliseconds since 1970 (UTC), from ISO 8601 with an offset or from such a number.

    Raises ValueError, with the reason, for anything else and for years outside 1970 to 2099. It is what the
    engine itself writes; `Time.read` is for what others do.

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
    if not 0 <= time < YEAR_2100:
        raise ValueError("must be a time between the years 1970 and 2100")
    return time


def is_milliseconds(value: Any) -> bool:
    """Whether the value is a moment between the years 1970 and 2100 in whole milliseconds."""
    return type(value) is int and 0 <= value < YEAR_2100


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
    """`check` for one declaration, fast for records that are as declared; and makes their values uniform.

    A `Time` becomes milliseconds, and a `Flag` with values of its own true or false, in the payload itself.
    Whether a record is as declared is one expression, made as source from the declaration; only a record that
    is not is looked at field by field. Fields whose values stay as they are cost nothing beside that.

    >>> print(_source({"origin": Text(), "delay": Number(0, 9, required=False), "at": Time()}))
    def is_fine(p):
        if not (type(p) is dict
        and (type(v := p.get('origin')) is str and 0 < len(v) <= 256)
        and ((v := p.get('delay')) is None or (type(v) is float or type(v) is int) and low1 <= v <= high1)
        and (t2 := read2(p.get('at'))) is not None):
            return False
        p['at'] = t2
        return True
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        names: dict[str, Any] = {}
        for number, field in enumerate(fields.values()):
            if isinstance(field, Number):
                names |= {f"low{number}": max(field.low, -EXACT), f"high{number}": min(field.high, EXACT)}
            elif isinstance(field, Time):
                names[f"read{number}"] = field.read_or_none
            elif isinstance(field, Flag):
                names[f"read{number}"] = field.read
        exec(_source(fields), names)  # noqa: S102  of what is made here
        self._is_fine = names["is_fine"]

    def __call__(self, payload: Any) -> None:
        """Raise what `check` raises; whole numbers that no float holds become the nearest floats."""
        if not self._is_fine(payload):
            check(payload, self._fields)
            payload |= {
                name: _uniform(field, payload[name])
                for name, field in self._fields.items()
                if payload.get(name) is not None
            }


def _uniform(field: Field, value: Any) -> Any:
    """What a value that is as declared becomes in the payload."""
    if isinstance(field, Time | Flag):
        return field.read(value)
    return nearest(value) if isinstance(field, Number) else value


def nearest(number: float) -> float:
    """The number, or the float nearest to a whole number beyond 2^53.

    >>> nearest(2**53), nearest(2**53 + 1)
    (9007199254740992, 9007199254740992.0)
    """
    return number if -EXACT <= number <= EXACT else float(number)


def _source(fields: Mapping[str, Field]) -> str:
    """The function that says whether a payload `p` is as declared, and makes its values uniform if it is."""
    conditions = (_condition(name, number, field) for number, (name, field) in enumerate(fields.items()))
    is_declared = "\n    and ".join(["type(p) is dict", *conditions])
    lines = ["def is_fine(p):", f"    if not ({is_declared}):", "        return False"]
    return "\n".join([*lines, *_settings(fields), "    return True"])


def _settings(fields: Mapping[str, Field]) -> Iterator[str]:
    for number, (name, field) in enumerate(fields.items()):
        if _is_read(field):
            if not field.required:
                yield f"    if t{number} is not None:"
            yield f"{'    ' if field.required else '        '}p[{name!r}] = t{number}"


def _is_read(field: Field) -> bool:
    """Whether a value may become another one."""
    return isinstance(field, Time) or (isinstance(field, Flag) and field.is_mapped)


def _condition(name: str, number: int, field: Field) -> str:
    value = f"p.get({name!r})"
    if _is_read(field):
        if field.required:
            return f"(t{number} := read{number}({value})) is not None"
        return f"((t{number} := {value}) is None or (t{number} := read{number}(t{number})) is not None)"
    kind, rest = _kind_and_rest(number, field)
    if field.required:
        return f"({kind.format(f'v := {value}')}{rest})"
    return f"((v := {value}) is None or {kind.format('v')}{rest})"


def _kind_and_rest(number: int, field: Field) -> tuple[str, str]:
    """A condition for the type of `{}`, and the rest of it for what is `v` then."""
    match field:
        case Text(longest=longest):
            return "type({}) is str", f" and 0 < len(v) <= {longest!r}"
        case Key(kind=kind):
            return _key_conditions(kind)
        case Number():
            return "(type({}) is float or type(v) is int)", f" and low{number} <= v <= high{number}"
    return "type({}) is bool", ""


def _key_conditions(kind: KeyKind | None) -> tuple[str, str]:
    text, integer = f"0 < len(v) <= {_KEY_TEXT.longest}", "{} <= v <= {}".format(*_INT64)
    if kind is None:
        return f"(type({{}}) is str and {text} or type(v) is int and {integer})", ""
    return ("type({}) is str", f" and {text}") if kind == "text" else ("type({}) is int", f" and {integer}")


_KINDS = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")


def _json_type(value: Any) -> type:
    """The type of a value in JSON, where integers and floats are one."""
    return float if type(value) is int else type(value)
