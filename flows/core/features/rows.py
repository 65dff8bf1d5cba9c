"""Feature rows as they stand on the features topic: one record for each view that a batch touched."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from flows.core.features.batch import Row
from flows.core.features.plan import KEY_NAMES, KEY_TYPES, Aggregate, Dtype, View
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.checker import EXACT, check
from flows.core.stream.fields import Field, Text
from flows.core.stream.times import is_milliseconds
from flows.errors import InvalidRecord

_INT64 = range(-(2**63), 2**63)
_KINDS: dict[Dtype, tuple[type, ...]] = {
    "int": (int, type(None)),
    "float": (float, int, type(None)),
    "string": (str, type(None)),
}
_FIELDS: dict[str, Field] = {"view": Text(longest=2**20)}


def encode(topic: str, rows: Iterable[Row]) -> list[Outgoing]:
    """The records of `rows`, one for each view, with the time of the view's newest row.

    They carry no id: after a crash a row may be written again, and since the latest row of an entity wins,
    that changes nothing.
    """
    views: dict[str, list[Row]] = {}
    for row in rows:
        views.setdefault(row.view, []).append(row)
    return [_encode_view(topic, view, members) for view, members in views.items()]


def _encode_view(topic: str, view: str, rows: Sequence[Row]) -> Outgoing:
    body = {"view": view, "rows": [(row.key, row.time, row.values) for row in rows]}
    return Outgoing(topic, orjson.dumps(body), view.encode(), timestamp=max(row.time for row in rows))


def decode(record: Record) -> list[Row]:
    """The rows of one record; raises `InvalidRecord` unless it has the shape that `encode` gives it.

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
    return [Row(body["view"], key, time, values) for key, time, values in rows]


class ViewCheck:
    """Checks that keys and values are, in number and types, those of one view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._key = KEY_TYPES[view.key]
        self._kinds = [_KINDS[aggregate.dtype] for aggregate in view.aggregates]

    def check_key(self, key: Any) -> None:
        """Raise `InvalidRecord` unless it is a key of the view's entity."""
        if type(key) is not self._key:
            fault = f"has the key {key!r}, which must be {KEY_NAMES[self._key]}"
            raise InvalidRecord("schema", f"view {self._view.name!r} {fault}")

    def check(self, values: list[Any]) -> None:
        """Raise `InvalidRecord` unless they are the view's features.

        Numbers become the floats that the stores hold, in place: whole ones beyond 2^53, true and false.
        """
        if len(values) != len(self._kinds):
            fault = f"has {len(self._kinds)} features, not {len(values)}"
            raise InvalidRecord("schema", f"view {self._view.name!r} {fault}")
        for number, (kinds, value) in enumerate(zip(self._kinds, values, strict=True)):
            kind = type(value)
            if kind not in kinds or (kind is int and not -EXACT <= value <= EXACT):
                values[number] = self._fitted(self._view.aggregates[number], value)

    def _fitted(self, aggregate: Aggregate, value: Any) -> Any:
        if aggregate.dtype == "float" and type(value) in (int, bool):
            return float(value)
        if aggregate.dtype == "int" and type(value) is int and value in _INT64:
            return value
        fault = f"has the feature {aggregate.name!r}, which is no {aggregate.dtype} here"
        raise InvalidRecord("schema", f"view {self._view.name!r} {fault}")


class RowCheck:
    """Checks that rows are those of `views`."""

    def __init__(self, views: Iterable[View]) -> None:
        self._checks = {view.name: ViewCheck(view) for view in views}

    def sound(self, rows: Iterable[Row]) -> tuple[list[Row], list[str]]:
        """The rows that are, and what is wrong with each of the others."""
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


def parse(record: Record) -> Any:
    """The JSON of a record; raises `InvalidRecord` where it is none."""
    try:
        return orjson.loads(record.value or b"")
    except orjson.JSONDecodeError as error:
        raise InvalidRecord("not-json", f"not JSON: {error}") from None


def _is_row(row: Any) -> bool:
    if type(row) is not list or len(row) != 3:
        return False
    key, time, values = row
    return type(key) in (str, int) and is_milliseconds(time) and type(values) is list
