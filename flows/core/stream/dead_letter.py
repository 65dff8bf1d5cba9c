"""Dead letters: bad input keeps its original bytes, the reason and where it came from."""

from typing import Literal, NamedTuple, get_args

from flows.core.stream.broker import Headers, Outgoing, Record
from flows.core.stream.times import iso
from flows.errors import InvalidRecord

Reason = Literal[
    "not-json",  # the bytes are no JSON (NaN and Infinity are none), or there is no value
    "schema",  # a field is missing, or of the wrong type or range
    "time",  # the event time is further ahead of the record's own timestamp than a clock can be wrong
    "late",  # the event time is further behind the newest of its topic than the pipeline allows
    "duplicate",  # the id was seen before
    "corrected",  # a label with another truth than the one taken in before for its event
    "unknown-event",  # a label whose event never came within the label wait
    "transform",  # a feature's own function failed on the event
    "model",  # the model could not score or learn the record
    "undeliverable",  # an endpoint did not take the alert
    "signature",  # a model snapshot that this project did not sign, or that cannot be opened
    "stale",  # a signed model message that is older than one taken before, or of another pipeline
]
REASONS: tuple[str, ...] = get_args(Reason)

REPLAYED = "replayed"  # header of a record that is sent again after it was taken in: its dead letter's id
_AFTER_INTAKE = ("model", "transform")  # the event's id is known by then, though nothing was served
_ORIGINAL = "original-"


def dead_letter(topic: str, record: Record, reason: str, detail: str, by: str = "") -> Outgoing:
    """The dead letter for `record`: the value and key are its own, byte for byte; headers say the rest.

    The id is the record's position in the log, so that a replay writes it only once; `by` is added where
    several may refuse the same record.
    """
    position = f"{record.topic}/{record.partition}/{record.offset}"
    identity = f"dead:{position}:{by}" if by else f"dead:{position}"
    headers = (
        ("id", identity.encode()),
        ("reason", reason.encode()),
        ("detail", detail.encode()),
        ("topic", record.topic.encode()),
        ("partition", str(record.partition).encode()),
        ("offset", str(record.offset).encode()),
        ("time", time_text(record.timestamp).encode()),
        *((f"{_ORIGINAL}{name}", value) for name, value in record.headers),
    )
    timestamp = None if record.timestamp < 0 else record.timestamp
    return Outgoing(topic, record.value, record.key, timestamp=timestamp, headers=headers)


def undelivered(topic: str, record: Record, detail: str, endpoint: str) -> Outgoing:
    """Return the dead letter of an alert that an endpoint did not accept; a header names the endpoint."""
    letter = dead_letter(topic, record, "undeliverable", detail, endpoint)
    return letter._replace(headers=(*letter.headers, ("endpoint", endpoint.encode())))


class DeadLetter(NamedTuple):
    """A dead letter as it stands in the log, at `place` (partition/offset).

    `origin` is the topic, `partition` and `offset` the place of its record, `time` that record's timestamp
    (ISO 8601); value, key and headers are those of the record, null where they were null.
    """

    place: str
    id: bytes
    reason: str
    detail: str
    origin: str
    partition: int
    offset: int
    time: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def read(record: Record) -> DeadLetter:
    """The dead letter that `dead_letter` wrote; raises `InvalidRecord` ("schema") for anything else."""
    headers = {name: value for name, value in record.headers if value is not None}
    try:
        said = {name: headers[name].decode() for name in ("reason", "detail", "topic", "time")}
        partition, offset, identity = int(headers["partition"]), int(headers["offset"]), headers["id"]
    except (KeyError, ValueError):
        raise InvalidRecord("schema", "not a dead letter: its headers are missing or wrong") from None
    return DeadLetter(
        place=f"{record.partition}/{record.offset}",
        id=identity,
        reason=said["reason"],
        detail=said["detail"],
        origin=said["topic"],
        partition=partition,
        offset=offset,
        time=said["time"],
        key=record.key,
        value=record.value,
        headers=tuple(
            (name.removeprefix(_ORIGINAL), value)
            for name, value in record.headers
            if name.startswith(_ORIGINAL)
        ),
    )


def resent(letter: DeadLetter) -> Outgoing:
    """The record of a dead letter, to be sent to where it came from once more.

    Its timestamp is that of the sending. A header tells the intake of an event that failed behind it: its id
    is known, but is no duplicate the first time that this letter is sent.
    """
    headers = tuple(header for header in letter.headers if header[0] != REPLAYED)
    if letter.reason in _AFTER_INTAKE:
        headers = (*headers, (REPLAYED, letter.id))
    return Outgoing(letter.origin, letter.value, letter.key, letter.partition, headers=headers)


def time_text(timestamp: int) -> str:
    """A record's timestamp as ISO 8601; "none", or a number where no calendar has it.

    >>> time_text(1357035300000), time_text(-1), time_text(2**62)
    ('2013-01-01T10:15:00.000Z', 'none', '4611686018427387904')
    """
    if timestamp < 0:
        return "none"
    try:
        return iso(timestamp)
    except (ValueError, OverflowError, OSError):
        return str(timestamp)
