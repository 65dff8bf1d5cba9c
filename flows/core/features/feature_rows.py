"""Feature rows on the features topic: one record for each view in a batch."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import orjson
from msgspec import Meta, MsgspecError, Struct, defstruct
from msgspec.json import Decoder

from flows.core.features.batch import Row
from flows.core.features.plan import KEY_NAMES, KEY_TYPES, Aggregate, Dtype, View
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.checker import EXACT, check
from flows.core.stream.fields import INT64, Field, KeyKind, Text
from flows.core.stream.times import YEAR_2100, is_milliseconds
from flows.errors import InvalidRecord

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does

_KINDS: dict[Dtype, tuple[type, ...]] = {
    "int": (int, type(None)),
    "float": (float, int, type(None)),
    "string": (str, type(None)),
}
# for msgspec: what needs no further check, and stays as it is
_WHOLE: Any = Annotated[int, Meta(ge=-EXACT, le=EXACT)]
_TYPES: dict[Dtype, Any] = {"int": _WHOLE | None, "float": _WHOLE | float | None, "string": str | None}
_KEY_TYPES: dict[KeyKind, Any] = {
    "text": str,
    "integer": Annotated[int, Meta(ge=INT64.start, le=INT64.stop - 1)],
}
# what msgspec raises, and the conversion of a value that is null or not UTF-8
REFUSED = (MsgspecError, ValueError, AttributeError, RecursionError)
_FIELDS: dict[str, Field] = {"view": Text(longest=2**20)}


def encode(topic: str, rows: Iterable[Row]) -> list[Outgoing]:
    """Return the records of `rows`: one for each view, with the time of the view's newest row.

    They have no id. A row may be written twice after a crash, which is harmless because the latest row of an
    entity wins.
    """
    views: dict[str, list[Row]] = {}
    for row in rows:
        views.setdefault(row.view, []).append(row)
    return [_encode_view(topic, view, members) for view, members in views.items()]


def _encode_view(topic: str, view: str, rows: Sequence[Row]) -> Outgoing:
    body = {"view": view, "rows": [(row.key, row.time, row.values) for row in rows]}
    return Outgoing(topic, orjson.dumps(body), view.encode(), timestamp=max(row.time for row in rows))


def decode(record: Record) -> list[Row]:
    """Return the rows of one record; raises `InvalidRecord` if it was not written by `encode`.

    >>> rows = [Row("origin_departures", "JFK", 1357035300000, [2, 7.5])]
    >>> (out,) = encode("t", rows)
    >>> decode(Record("t", 0, 0, 0, None, out.value, ())) == rows
    True
    """
    body = parse(record)
    check(body, _FIELDS)
    rows = body.get("rows")
    if type(rows) is not list or not rows or not all(map(_is_row, rows)):
        raise InvalidRecord("schema", "'rows' must be an array of [key, time, features]")
    view = body["view"]
    return [_tuple(Row, (view, key, time, values)) for key, time, values in rows]


class ViewCheck:
    """Checks keys and values against the schema of one view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._key = KEY_TYPES[view.key]
        self._kinds = [_KINDS[aggregate.dtype] for aggregate in view.aggregates]

    def check_key(self, key: Any) -> None:
        """Raise `InvalidRecord` if `key` does not have the type of the view's entity."""
        if type(key) is not self._key:
            raise self._invalid(f"key must be {KEY_NAMES[self._key]}, got {key!r}")

    def check(self, values: list[Any]) -> None:
        """Raise `InvalidRecord` if `values` do not match the view's schema.

        In a float feature, whole numbers beyond 2^53, true and false are converted to floats in place.
        """
        if len(values) != len(self._kinds):
            raise self._invalid(f"must have {len(self._kinds)} features, got {len(values)}")
        for number, (kinds, value) in enumerate(zip(self._kinds, values, strict=True)):
            kind = type(value)
            if kind not in kinds or (kind is int and not -EXACT <= value <= EXACT):
                values[number] = self._fitted(self._view.aggregates[number], value)

    def _fitted(self, aggregate: Aggregate, value: Any) -> Any:
        if aggregate.dtype == "float" and type(value) in (int, bool):
            return float(value)
        if aggregate.dtype == "int" and type(value) is int and value in INT64:
            return value
        if aggregate.dtype == "int" and type(value) is int:
            raise self._invalid(f"feature {aggregate.name!r} must fit into 64 bits, got {value}")
        raise self._invalid(f"feature {aggregate.name!r} must be {aggregate.dtype}, got {_name_of(value)}")

    def _invalid(self, fault: str) -> InvalidRecord:
        return InvalidRecord("schema", f"view {self._view.name!r}: {fault}")


class RowDecoder:
    """Decodes records of rows, and checks the rows against the schemas of `views`.

    msgspec parses and checks a record at once. The rows of one that it refuses are checked one by one.
    """

    def __init__(self, views: Iterable[View]) -> None:
        self._checks = {view.name: ViewCheck(view) for view in views}
        self._decoders = {view.name.encode(): Decoder(_record_type(view)) for view in views}

    def decode(self, record: Record) -> tuple[list[Row], list[str]]:
        """Return the valid rows, and the fault of each invalid one.

        Raises `InvalidRecord` if the record was not written by `encode`.
        """
        decoder = self._decoders.get(record.key or b"")
        if decoder is None or record.value is None:
            return self._checked(decode(record))
        try:
            record.value.decode()  # msgspec does not check the UTF-8 of fields that it skips
            found: Any = decoder.decode(record.value)
        except REFUSED:
            return self._checked(decode(record))
        view = found.view
        return [_tuple(Row, (view, key, time, [*values])) for key, time, values in found.rows], []

    def _checked(self, rows: Iterable[Row]) -> tuple[list[Row], list[str]]:
        sound, faults = list[Row](), list[str]()
        for row in rows:
            try:
                self._check(row)
            except InvalidRecord as fault:
                faults.append(f"key {row.key!r}: {fault}")
            else:
                sound.append(row)
        return sound, faults

    def _check(self, row: Row) -> None:
        if row.view not in self._checks:
            raise InvalidRecord("schema", f"the plan has no view {row.view!r}")
        self._checks[row.view].check_key(row.key)
        self._checks[row.view].check(row.values)


def _record_type(view: View) -> type[Struct]:
    """Return the type of a record whose rows need no further check; it refuses some valid ones."""
    values: Any = tuple[tuple(feature_type(aggregate.dtype) for aggregate in view.aggregates)]  # type: ignore[misc]
    row: Any = tuple[key_type(view.key), Annotated[int, Meta(ge=0, lt=YEAR_2100)], values]  # type: ignore[misc]
    rows: Any = Annotated[list[row], Meta(min_length=1)]
    return defstruct("Rows", [("view", Literal[view.name]), ("rows", rows)], gc=False)


def feature_type(dtype: Dtype) -> Any:
    """Return the type, for msgspec, of values that `ViewCheck` keeps as they are; it refuses some of them."""
    return _TYPES[dtype]


def key_type(kind: KeyKind) -> Any:
    """Return the type, for msgspec, of keys that `ViewCheck` accepts; it refuses integers beyond 64 bits."""
    return _KEY_TYPES[kind]


def parse(record: Record) -> Any:
    """Return the JSON of a record; raises `InvalidRecord` if it is not valid JSON."""
    try:
        return orjson.loads(record.value or b"")
    except orjson.JSONDecodeError as error:
        raise InvalidRecord("not-json", f"not JSON: {error}") from None


def _name_of(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _is_row(row: Any) -> bool:
    if type(row) is not list or len(row) != 3:
        return False
    key, time, values = row
    return type(key) in (str, int) and is_milliseconds(time) and type(values) is list
