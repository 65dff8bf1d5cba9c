"""Decodes the bytes of a record to a checked payload with its id and event time."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from flows.core.stream import foreign
from flows.core.stream.broker import Record
from flows.core.stream.checker import Checker
from flows.core.stream.fields import Field, Time
from flows.core.stream.times import milliseconds
from flows.errors import InvalidRecord

# How far (ms) an event time may be ahead of its record's timestamp. It is below the default lateness, so that
# one wrong clock does not make all later records late.
CLOCK_TOLERANCE = 3_600_000

LARGEST = 2**20  # bytes of a record's value, which is also Kafka's default
_FLAT = 2**12  # bytes up to which a flat payload is kept with its undeclared fields
_ARRAY = ord("[")  # `in` searches for a number ten times as fast as for bytes


class Decoded(NamedTuple):
    """A valid record: its id as text, its event time (ms) and its payload.

    In the payload, times are in milliseconds and flags are true or false. The payload of a large or nested
    record has only its declared fields, which are scalars; this bounds the size and depth of all that is
    kept.
    """

    id: str
    time: int
    payload: Mapping[str, Any]


class Decoder:
    """Decodes the records of one stream. `id_field` and `time_field` (a `Time`) must be among `fields`."""

    def __init__(self, id_field: str, time_field: str, fields: Mapping[str, Field]) -> None:
        self._id = id_field
        self._time = time_field
        self._names = tuple(fields)
        self._required = sum(field.required for field in fields.values())
        time = fields[time_field]
        assert isinstance(time, Time)
        self._read_time = time.read
        self._check = Checker({name: field for name, field in fields.items() if name != time_field})

    def decode(self, record: Record) -> Decoded:
        """Return the id, event time and payload of `record`; raises `InvalidRecord` with the reason.

        The event time of a record without a timestamp is not compared with anything.
        """
        value = record.value or b""
        if len(value) > LARGEST:
            raise InvalidRecord("schema", f"its value must be at most {LARGEST:,} bytes, got {len(value):,}")
        try:
            payload = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InvalidRecord("not-json", foreign.not_json(record, str(error))) from None
        try:
            self._check(payload)
        except InvalidRecord as fault:
            raise InvalidRecord(fault.reason, f"{fault}{foreign.envelope(payload)}") from None
        try:
            given = payload[self._time]
            time = milliseconds(given) if type(given) is str else self._read_time(given)
        except KeyError:
            raise InvalidRecord("schema", f"field {self._time!r} is missing") from None
        except ValueError as error:
            raise InvalidRecord("schema", f"field {self._time!r} {error}") from None
        if time > record.timestamp + CLOCK_TOLERANCE and record.timestamp >= 0:
            raise InvalidRecord(
                "time", f"field {self._time!r} must be at most an hour ahead of the record's timestamp"
            )
        if len(payload) > self._required and (_ARRAY in value or len(value) > _FLAT or value.rfind(b"{") > 0):
            payload = {name: payload[name] for name in self._names if name in payload}
        payload[self._time] = time
        event_id = payload[self._id]
        if type(event_id) is not str:
            event_id = str(event_id)
        return tuple.__new__(Decoded, (event_id, time, payload))
