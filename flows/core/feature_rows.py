"""Feature rows as they stand on the features topic: one record for each view that a batch touched."""

from collections.abc import Iterable, Sequence

import orjson

from flows.core.broker import Outgoing, Record
from flows.core.features import Row


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
    """The rows of one record.

    >>> rows = [Row("origin_departures", "JFK", 1357035300000, [2, 7.5])]
    >>> (out,) = encode("t", rows)
    >>> decode(Record("t", 0, 0, 0, None, out.value, ())) == rows
    True
    """
    body = orjson.loads(record.value or b"")
    return [Row(body["view"], key, time, values) for key, time, values in body["rows"]]
