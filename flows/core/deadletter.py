"""Dead letters: bad input keeps its original bytes, the reason and where it came from."""

from typing import Literal, get_args

from flows.core.broker import Outgoing, Record
from flows.core.schema import iso

Reason = Literal[
    "not-json",  # the bytes are no JSON (NaN and Infinity are none)
    "schema",  # a field is missing, or of the wrong type or range
    "time",  # the event time is further ahead of the record's own timestamp than a clock can be wrong
    "late",  # the event time is further behind the newest of its topic than the pipeline allows
    "duplicate",  # the id was seen before
    "corrected",  # a label with another truth than the one taken in before for its event
    "unknown-event",  # a label whose event never came within the label wait
    "transform",  # a feature's own function failed on the event
    "model",  # the model could not score or learn the record
    "undeliverable",  # an endpoint did not take the alert
    "signature",  # a model snapshot that this project did not sign
]
REASONS: tuple[str, ...] = get_args(Reason)


def dead_letter(topic: str, record: Record, reason: str, detail: str) -> Outgoing:
    """The dead letter for `record`: the value and key are its own, byte for byte; headers say the rest.

    The id is the record's position in the log, so that a replay writes it only once.
    """
    position = f"{record.topic}/{record.partition}/{record.offset}"
    headers = (
        ("id", f"dead:{position}".encode()),
        ("reason", reason.encode()),
        ("detail", detail.encode()),
        ("topic", record.topic.encode()),
        ("partition", str(record.partition).encode()),
        ("offset", str(record.offset).encode()),
        ("time", _time(record.timestamp).encode()),
        *((f"original-{name}", value) for name, value in record.headers),
    )
    return Outgoing(topic, record.value or b"", record.key, timestamp=record.timestamp, headers=headers)


def _time(timestamp: int) -> str:
    """The time as ISO 8601; a producer may also give one that no calendar has, which stays a number."""
    try:
        return iso(timestamp)
    except (ValueError, OverflowError, OSError):
        return str(timestamp)
