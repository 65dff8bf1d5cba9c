"""Checks every record against the declared fields, by a function generated from the declaration."""

from collections.abc import Iterator, Mapping
from typing import Any

from flows.core.stream.fields import INT64, KEY_TEXT, Field, Flag, Key, KeyKind, Number, Text, Time
from flows.core.stream.json_types import kind_of
from flows.errors import InvalidRecord

EXACT = 2**53  # up to here a float holds every whole number


def check(payload: Any, fields: Mapping[str, Field]) -> None:
    """Raise `InvalidRecord` unless `payload` is an object whose `fields` are all as declared.

    A field that is not required may be missing or null. Fields that are not declared pass unread.
    """
    if type(payload) is not dict:
        raise InvalidRecord("schema", f"must be a JSON object, not {kind_of(payload)}")
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
    text, integer = f"0 < len(v) <= {KEY_TEXT.longest}", "{} <= v <= {}".format(*INT64)
    if kind is None:
        return f"(type({{}}) is str and {text} or type(v) is int and {integer})", ""
    return ("type({}) is str", f" and {text}") if kind == "text" else ("type({}) is int", f" and {integer}")
