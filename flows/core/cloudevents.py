"""The drift signal, a CloudEvents 1.0 message in JSON (https://github.com/cloudevents/spec).

The same bytes stand on the drift topic and are the body of the webhook. In its data the signal also has what
Alertmanager says of an alert; objects are no attributes of a CloudEvent, so they have no place beside them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, get_args
from urllib.parse import quote

import orjson

from flows.core.drift import Detector
from flows.core.schema import Field, Number, Text, Time, check, iso, milliseconds
from flows.errors import InvalidRecord

CONTENT_TYPE = "application/cloudevents+json"

Kind = Literal["concept"]
Severity = Literal["warning", "critical"]
Status = Literal["firing", "resolved"]

_TYPE = "io.driftline.drift."
_KINDS: dict[str, Kind] = {_TYPE + kind: kind for kind in get_args(Kind)}
_COUNT = Number(low=0, high=2**63 - 1)
_EVENT_FIELDS: dict[str, Field] = {
    "id": Text(),
    "source": Text(longest=1024),
    "type": Text(),
    "subject": Text(),
    "time": Time(),
}
_INTEGERS: dict[str, Field] = {"sequence": _COUNT, "width": _COUNT, "partition": _COUNT, "offset": _COUNT}
_DATA_FIELDS: dict[str, Field] = {
    "pipeline": Text(),
    "topic": Text(),
    "detector": Text(),
    "severity": Text(),
    "status": Text(),
    "estimate_before": Number(),
    "estimate_after": Number(),
    "since": Time(),
    **_INTEGERS,
}


def severity(before: float, after: float) -> Severity:
    """How bad a rise of the error is: critical from half as much again.

    >>> severity(0.20, 0.25), severity(0.20, 0.35)
    ('warning', 'critical')
    """
    return "critical" if after >= 1.5 * before else "warning"


def signal_id(pipeline: str, detector: str, topic: str, partition: int, offset: int) -> str:
    """The id of the signal that the label at this place raised: the same in every replay.

    >>> signal_id("flight_delays", "adwin", "arrivals", 0, 4711)
    'drift_55d18e2dbd0249317654f230e3b73cf4'
    """
    cause = orjson.dumps([pipeline, detector, topic, partition, offset])
    return f"drift_{sha256(cause).hexdigest()[:32]}"


@dataclass(frozen=True)
class DriftSignal:
    """One alarm of a drift detector.

    `id` is what `signal_id` gives. `status` is "resolved" when the change that an earlier signal told of is
    over. `sequence` counts the signals of the pipeline. `time` is the event time
    (ms) at which the alarm was raised. The estimates are the mean error in the part of its window that the
    detector dropped, and in the part that it kept, which is `width` labels wide, and the first of them came
    at `since` (ms). `topic`, `partition` and `offset` are the place of the label
    that raised the alarm.
    """

    id: str
    pipeline: str
    model_version: str
    detector: Detector
    kind: Kind
    severity: Severity
    sequence: int
    time: int
    estimate_before: float
    estimate_after: float
    width: int
    since: int
    topic: str
    partition: int
    offset: int
    status: Status = "firing"

    @property
    def source(self) -> str:
        """Where the signal comes from, as CloudEvents want it: a URI reference."""
        return _source(self.pipeline)

    @property
    def type(self) -> str:
        """The kind of the signal, as CloudEvents name it."""
        return f"{_TYPE}{self.kind}"

    @property
    def labels(self) -> dict[str, str]:
        """What tells this alert from others, as Alertmanager has it: the same when it ends as it fired."""
        return {
            "alertname": "DriftlineDrift",
            "pipeline": self.pipeline,
            "kind": self.kind,
            "detector": self.detector,
            "severity": self.severity,
        }

    @property
    def annotations(self) -> dict[str, str]:
        """What a person is told, as Alertmanager has it."""
        place = f"{self.topic}/{self.partition}/{self.offset}"
        return {
            "summary": f"{self.pipeline}: {self.kind} drift is {self.status} ({self.severity})",
            "description": f"{self.detector} saw {self.estimate_before:.4g} become {self.estimate_after:.4g} "
            f"over {self.width} records since {iso(self.since)}; model {self.model_version}, at {place}",
        }

    def to_json(self) -> bytes:
        """The message as a structured-mode CloudEvent."""
        data = {name: getattr(self, name) for name in _DATA_FIELDS}
        event = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.model_version,
            "time": iso(self.time),
            "datacontenttype": "application/json",
            "data": data | {"since": iso(self.since), "labels": self.labels, "annotations": self.annotations},
        }
        return orjson.dumps(event)

    @staticmethod
    def from_json(body: bytes) -> "DriftSignal":
        """The signal that `to_json` wrote; raises `InvalidRecord` ("schema") for anything else.

        Labels and annotations follow from the rest and pass unread.
        """
        event = _decode(body)
        data = event["data"]
        signal = DriftSignal(
            id=event["id"],
            model_version=event["subject"],
            kind=_KINDS[event["type"]],
            time=milliseconds(event["time"]),
            **{name: data[name] for name in _DATA_FIELDS} | {"since": milliseconds(data["since"])},
        )
        cause = (signal.pipeline, signal.detector, signal.topic, signal.partition, signal.offset)
        for name, value in (("id", signal_id(*cause)), ("source", signal.source)):
            if event[name] != value:
                raise InvalidRecord("schema", f"field {name!r} does not belong to the signal's data")
        return signal


TRIAL_ANNOTATIONS = {"summary": "driftline webhooks test", "description": "Nothing drifted: this is a test."}


def trial_labels(pipeline: str) -> dict[str, str]:
    """The labels of a test alert, as Alertmanager has them."""
    return {"alertname": "DriftlineTest", "pipeline": pipeline, "severity": "none"}


def trial(pipeline: str, identity: str, time: int) -> bytes:
    """A CloudEvent that tries a webhook out: no drift signal, and over when it begins, at `time` (ms)."""
    event = {
        "specversion": "1.0",
        "id": identity,
        "source": _source(pipeline),
        "type": "io.driftline.test",
        "time": iso(time),
        "datacontenttype": "application/json",
        "data": {
            "pipeline": pipeline,
            "status": "resolved",
            "labels": trial_labels(pipeline),
            "annotations": TRIAL_ANNOTATIONS,
        },
    }
    return orjson.dumps(event)


def _decode(body: bytes) -> Any:
    """The message as plain data, each field of the type that it must have."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRecord("schema", f"not JSON: {error}") from None
    check(event, _EVENT_FIELDS)
    if event.get("specversion") != "1.0":
        raise InvalidRecord("schema", "field 'specversion' must be \"1.0\"")
    _one_of(_KINDS, event["type"], "type")
    data = event.get("data")
    check(data, _DATA_FIELDS)
    for name in _INTEGERS:
        if type(data[name]) is not int:
            raise InvalidRecord("schema", f"field {name!r} must be a whole number")
    _one_of(get_args(Detector), data["detector"], "detector")
    _one_of(get_args(Severity), data["severity"], "severity")
    _one_of(get_args(Status), data["status"], "status")
    return event


def _one_of(values: Collection[str], value: str, name: str) -> None:
    if value not in values:
        raise InvalidRecord("schema", f"field {name!r} must be one of {', '.join(values)}")


def _source(pipeline: str) -> str:
    return f"/driftline/{quote(pipeline, safe='')}"
