"""Decodes the bytes of records to checked payloads with their ids and event times."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter, sub
from typing import Any, NamedTuple, TypeGuard

import orjson
from msgspec import MsgspecError
from msgspec.json import Decoder as JsonDecoder

from flows.core.stream import foreign
from flows.core.stream.broker import Record
from flows.core.stream.checker import check, normalized
from flows.core.stream.fields import Field, Flag, Time
from flows.core.stream.typed_payload import payload_type
from flows.errors import InvalidRecord

# How far (ms) an event time may be ahead of its record's timestamp. It is below the default lateness, so that
# one wrong clock does not make all later records late.
CLOCK_TOLERANCE = 3_600_000

LARGEST = 2**20  # bytes of a record's value, which is also Kafka's default

_timestamp, _value = itemgetter(3), itemgetter(5)  # of a record

# what msgspec and the conversions raise for a value that is refused, null or not UTF-8
_REFUSED = (MsgspecError, ValueError, TypeError, RecursionError)


class Decoded(NamedTuple):
    """A valid record: its id as text, its event time (ms) and its payload.

    The payload has the declared fields only; this bounds the size and depth of all that is kept. In it,
    times are in milliseconds and flags are true or false.
    """

    id: str
    time: int
    payload: Mapping[str, Any]


class DecodedBatch(NamedTuple):
    """Valid records, in columns."""

    ids: Sequence[str]
    times: Sequence[int]
    payloads: Sequence[Mapping[str, Any]]


class Decoder:
    """Decodes the records of one stream. `id_field` and `time_field` (a `Time`) must be among `fields`.

    msgspec parses and checks a record at once. What it refuses is decoded by `orjson` and checked field by
    field, which accepts it after all or names the fault.
    """

    def __init__(self, id_field: str, time_field: str, fields: Mapping[str, Field]) -> None:
        time = fields[time_field]
        assert isinstance(time, Time)
        self._id = id_field
        self._read_id = itemgetter(id_field)
        self._time = time_field
        self._read_time = time.read
        self._milliseconds = int if time.unit == "ms" else None  # the type of a time that needs no conversion
        self._others = {name: field for name, field in fields.items() if name != time_field}
        self._parse: Callable[[bytes], dict[str, Any]] = JsonDecoder(payload_type(fields)).decode
        self._conversions = [(n, f.read) for n, f in self._others.items() if _is_converted(f)]

    def decode(self, record: Record) -> Decoded:
        """Return the id, event time and payload of `record`; raises `InvalidRecord` with the reason.

        The event time of a record without a timestamp is not compared with anything.
        """
        value = record.value or b""
        if len(value) > LARGEST:
            raise InvalidRecord("schema", f"its value must be at most {LARGEST:,} bytes, got {len(value):,}")
        decoded = self._typed(value) or self._checked(record, value)
        if decoded[1] > record.timestamp + CLOCK_TOLERANCE and record.timestamp >= 0:
            raise InvalidRecord(
                "time", f"field {self._time!r} must be at most an hour ahead of the record's timestamp"
            )
        return decoded

    def decode_batch(self, records: Sequence[Record]) -> DecodedBatch | None:
        """Return what `decode` returns for each of `records`; None if one of them must be decoded alone."""
        values: list[Any] = list(map(_value, records))
        try:
            if max(map(len, values)) > LARGEST:
                return None
            text = b"\n".join(values)
            if not text.isascii():
                text.decode()  # msgspec does not check the UTF-8 of undeclared fields
            payloads = list(map(self._parse, values))
            self._convert(payloads)
            times = self._read_times(payloads)
        except _REFUSED:
            return None
        if max(map(sub, times, map(_timestamp, records))) > CLOCK_TOLERANCE:
            return None
        return DecodedBatch(list(map(str, map(self._read_id, payloads))), times, payloads)

    def _typed(self, value: bytes) -> Decoded | None:
        """Return a record that msgspec accepts, or None."""
        try:
            value.decode()  # see `decode_batch`
            payload = self._parse(value)
            if self._conversions:
                self._convert([payload])
            time = payload[self._time]
            if type(time) is not self._milliseconds:
                payload[self._time] = time = self._read_time(time)
        except _REFUSED:
            return None
        return self._decoded(time, payload)

    def _checked(self, record: Record, value: bytes) -> Decoded:
        """Return a record that is valid field by field; raises `InvalidRecord` with the fault."""
        try:
            payload = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InvalidRecord("not-json", foreign.not_json(record, str(error))) from None
        try:
            check(payload, self._others)
        except InvalidRecord as fault:
            raise InvalidRecord(fault.reason, f"{fault}{foreign.envelope(payload)}") from None
        try:
            time = self._read_time(payload[self._time])
        except KeyError:
            raise InvalidRecord("schema", f"field {self._time!r} is missing") from None
        except ValueError as error:
            raise InvalidRecord("schema", f"field {self._time!r} {error}") from None
        return self._decoded(time, normalized(payload, self._others) | {self._time: time})

    def _decoded(self, time: int, payload: dict[str, Any]) -> Decoded:
        event_id = payload[self._id]
        if type(event_id) is not str:
            event_id = str(event_id)
        return tuple.__new__(Decoded, (event_id, time, payload))

    def _convert(self, payloads: Sequence[dict[str, Any]]) -> None:
        """Convert times and mapped flags in place; raises `ValueError` for an invalid one."""
        for name, read in self._conversions:
            for payload in payloads:
                if (given := payload.get(name)) is not None:
                    payload[name] = known = read(given)
                    if known is None:
                        raise ValueError(name)

    def _read_times(self, payloads: Sequence[dict[str, Any]]) -> list[int]:
        """Convert the event times in place and return them; raises `ValueError` for an invalid one."""
        name, read, milliseconds = self._time, self._read_time, self._milliseconds
        times = list(map(itemgetter(name), payloads))
        if set(map(type, times)) != {milliseconds}:
            times = [time if type(time) is milliseconds else read(time) for time in times]
            for payload, time in zip(payloads, times, strict=True):
                payload[name] = time
        return times


def _is_converted(field: Field) -> TypeGuard[Time | Flag]:
    return isinstance(field, Time) or (isinstance(field, Flag) and field.is_mapped)
