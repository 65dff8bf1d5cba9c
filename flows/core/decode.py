"""From the bytes of a record to a checked payload with its id and event time."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from flows.core import foreign
from flows.core.broker import Record
from flows.core.schema import Checker, Field, milliseconds
from flows.errors import InvalidRecord

# How far (ms) an event time may be ahead of its record's timestamp. Less than the lateness that is allowed,
# or one wrong clock would make all that comes after it late.
CLOCK_TOLERANCE = 3_600_000


class Decoded(NamedTuple):
    """A valid record: its id, its event time (ms) and its payload."""

    id: str
    time: int
    payload: Mapping[str, Any]


class Decoder:
    """Decodes the records of one stream. `id_field` and `time_field` are among `fields`."""

    def __init__(self, id_field: str, time_field: str, fields: Mapping[str, Field]) -> None:
        self._id = id_field
        self._time = time_field
        self._check = Checker({name: field for name, field in fields.items() if name != time_field})

    def decode(self, record: Record) -> Decoded:
        """The payload of `record`; raises `InvalidRecord` with the reason it cannot be used.

        A record without a timestamp may have any event time.
        """
        try:
            payload = orjson.loads(record.value or b"")
        except orjson.JSONDecodeError as error:
            raise InvalidRecord("not-json", foreign.not_json(record, str(error))) from None
        try:
            self._check(payload)
        except InvalidRecord as fault:
            raise InvalidRecord(fault.reason, f"{fault}{foreign.envelope(payload)}") from None
        try:
            time = milliseconds(payload.get(self._time))
        except ValueError as error:
            raise InvalidRecord("schema", f"field {self._time!r} {error}") from None
        if time > record.timestamp + CLOCK_TOLERANCE and record.timestamp >= 0:
            raise InvalidRecord(
                "time", f"field {self._time!r} is more than an hour ahead of the record itself"
            )
        return tuple.__new__(Decoded, (payload[self._id], time, payload))
