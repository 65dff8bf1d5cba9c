"""Dead letters: records that cannot be used, with their original bytes, the reason and their origin."""

from typing import Literal, NamedTuple, get_args

from flows.core.stream.broker import Headers, Outgoing, Record
from flows.core.stream.times import iso
from flows.errors import InvalidRecord

Reason = Literal[
    "not-json",  # the value is null or not valid JSON (NaN and Infinity are not)
    "schema",  # a field is missing, or has the wrong type or range
    "time",  # the event time is more than CLOCK_TOLERANCE ahead of the record's timestamp
    "late",  # the event time is further behind the newest of its topic than the pipeline allows
    "duplicate",  # the id was seen before
    "corrected",  # a second label for an event, with a different truth
    "unknown-event",  # a label whose event did not arrive within the label wait
    "transform",  # a feature's function raised an error for the event
    "model",  # the model could not score or learn the record
    "undeliverable",  # an endpoint did not accept the alert
    "signature",  # a model snapshot not signed by this project, or one that cannot be loaded
    "stale",  # a signed model message older than one already applied, or of another pipeline
]
REASONS: tuple[str, ...] = get_args(Reason)

REPLAYED = "replayed"  # header of a resent event that failed after intake; its value is the dead letter's id
_AFTER_INTAKE = ("model", "transform")  # intake already remembers the id, though nothing was served
_ORIGINAL = "original-"


def dead_letter(topic: str, record: Record, reason: str, detail: str, by: str = "") -> Outgoing:
    """Return the dead letter for `record`: same key and value, and headers with the reason and origin.

    The id is the position in the log, so a replay writes the dead letter only once. `by` is added to the id
    where several endpoints can refuse the same record.
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
    """A dead letter read from the log, at `place` (partition/offset).

    `origin`, `partition` and `offset` locate the original record, and `time` is its timestamp (ISO 8601).
    Key, value and headers are those of the original record, including nulls.
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
    """Parse a dead letter; raises `InvalidRecord` ("schema") for any other record."""
    headers = {name: value for name, value in record.headers if value is not None}
    try:
        said = {name: headers[name].decode() for name in ("reason", "detail", "topic", "time")}
        partition, offset, identity = int(headers["partition"]), int(headers["offset"]), headers["id"]
    except (KeyError, ValueError):
        raise InvalidRecord("schema", "not a dead letter: its headers are missing or invalid") from None
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
    """Return the record of a dead letter, to send to its original topic.

    Its timestamp is the time of sending. If the event failed after intake, a header tells intake to accept
    its already-seen id once.
    """
    headers = tuple(header for header in letter.headers if header[0] != REPLAYED)
    if letter.reason in _AFTER_INTAKE:
        headers = (*headers, (REPLAYED, letter.id))
    return Outgoing(letter.origin, letter.value, letter.key, letter.partition, headers=headers)


def time_text(timestamp: int) -> str:
    """Return a timestamp as ISO 8601, "none" if negative, or the number if no calendar date has it.

    >>> time_text(1357035300000), time_text(-1), time_text(2**62)
    ('2013-01-01T10:15:00.000Z', 'none', '4611686018427387904')
    """
    if timestamp < 0:
        return "none"
    try:
        return iso(timestamp)
    except (ValueError, OverflowError, OSError):
        return str(timestamp)
