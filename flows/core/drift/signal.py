"""The drift signal, a CloudEvents 1.0 message in JSON (https://github.com/cloudevents/spec).

The same bytes stand on the drift topic and are the body of the webhook. In its data the signal also has what
Alertmanager says of an alert; objects are no attributes of a CloudEvent, so they have no place beside them.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal, get_args
from urllib.parse import quote

import orjson

from flows.core.drift.levels import ColumnMove, Detector, DriftKind, Level, Position, SliceMove
from flows.core.stream.checker import check
from flows.core.stream.fields import Field, Number, Text, Time
from flows.core.stream.times import iso
from flows.errors import InvalidRecord

CONTENT_TYPE = "application/cloudevents+json"

SignalDetector = Literal[Detector, "psi", "data_quality"]
Severity = Literal["warning", "critical"]
Status = Literal["firing", "resolved"]

_TIME = Time()
_TYPE = "io.driftline.drift."
_KINDS: dict[str, DriftKind] = {_TYPE + kind: kind for kind in get_args(DriftKind)}
_COUNT = Number(low=0, high=2**63 - 1)
_EVENT_FIELDS: dict[str, Field] = {
    "id": Text(),
    "source": Text(longest=1024),
    "type": Text(),
    "subject": Text(),
    "time": _TIME,
}
_INTEGERS: dict[str, Field] = {"sequence": _COUNT, "width": _COUNT, "partition": _COUNT, "offset": _COUNT}
_DATA_FIELDS: dict[str, Field] = {
    "pipeline": Text(),
    "topic": Text(),
    "detector": Text(),
    "level": Text(),
    "severity": Text(),
    "status": Text(),
    "estimate_before": Number(),
    "estimate_after": Number(),
    "since": _TIME,
    **_INTEGERS,
}
_NAME = Text(longest=1024)
_NAME_OR_NULL = Text(required=False, longest=1024)
_COLUMN_FIELDS: dict[str, Field] = {
    "name": _NAME,
    "before": Number(),
    "after": Number(),
    "psi": Number(required=False),
    "p_value": Number(required=False),
    "category": _NAME_OR_NULL,
    "fault": _NAME_OR_NULL,
}
_SLICE_FIELDS: dict[str, Field] = {
    "column": _NAME,
    "value": _NAME,
    "before": Number(),
    "after": Number(),
    "rows": _COUNT,
}


def severity(before: float, after: float) -> Severity:
    """How bad a rise of the error is: critical from half as much again.

    >>> severity(0.20, 0.25), severity(0.20, 0.35)
    ('warning', 'critical')
    """
    return "critical" if after >= 1.5 * before else "warning"


def signal_id(
    pipeline: str,
    kind: DriftKind,
    detector: str,
    severity: Severity,
    status: Status,
    place: tuple[str, int, int],
    since: int,
) -> str:
    """The id of the signal that the record at this place raised: the same in every replay.

    One record may close several windows, so it takes the time (ms) at which the change began, too.

    >>> place = ("arrivals", 0, 4711)
    >>> signal_id("flight_delays", "concept", "adwin", "critical", "firing", place, since=1357035300000)
    'drift_588828905753d70aeb540df7a9eb2102'
    """
    cause = orjson.dumps([pipeline, kind, detector, severity, status, *place, since])
    return f"drift_{sha256(cause).hexdigest()[:32]}"


@dataclass(frozen=True)
class DriftSignal:
    """What a detector of drift raised, or that it is over.

    `id` is what `signal_id` gives. `level` is the detector's own; `severity` says how bad it is. `sequence`
    counts the signals of a kind. `time` is the event time (ms) at which it was raised. The estimates are
    before the change and since: the mean error, that of the column which moved furthest, or the worst share
    of bad values or number of events. The part since is `width` records wide and begins at `since` (ms).
    `columns` are those that moved furthest and `slices` those of the error, or of the first column, that did.
    `topic`, `partition` and `offset` are the place of the record that raised it.

    `status` is "resolved" when the change is over. Such a signal is what `resolved` makes of the one that
    fired: the same but for its id, and for when, where and under which model it ended.
    """

    id: str
    pipeline: str
    model_version: str
    detector: SignalDetector
    kind: DriftKind
    level: Level
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
    columns: tuple[ColumnMove, ...] = ()
    slices: tuple[SliceMove, ...] = ()

    def resolved(self, model_version: str, time: int, place: Position) -> "DriftSignal":
        """The signal that the change is over, which the record at `place` showed at `time` (ms)."""
        return replace(
            self,
            id=signal_id(
                self.pipeline, self.kind, self.detector, self.severity, "resolved", place, self.since
            ),
            model_version=model_version,
            time=time,
            topic=place.topic,
            partition=place.partition,
            offset=place.offset,
            status="resolved",
        )

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
        moved = [*map(_column_moved, self.columns), *map(_slice_moved, self.slices)]
        return {
            "summary": f"{self.pipeline}: {self.kind} drift is {self.status} ({self.severity})",
            "description": f"{self.detector} saw {self.estimate_before:.4g} become {self.estimate_after:.4g} "
            f"over {self.width} records since {iso(self.since)}; model {self.model_version}, at {place}"
            + "".join(f"; {each}" for each in moved),
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
            "data": data
            | {
                "since": iso(self.since),
                "columns": [_without_nulls(column) for column in self.columns],
                "slices": [slice_._asdict() for slice_ in self.slices],
                "labels": self.labels,
                "annotations": self.annotations,
            },
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
            time=_TIME.read(event["time"]),
            columns=tuple(ColumnMove(**_known(column, _COLUMN_FIELDS)) for column in data["columns"]),
            slices=tuple(SliceMove(**_known(slice_, _SLICE_FIELDS)) for slice_ in data["slices"]),
            **{name: data[name] for name in _DATA_FIELDS} | {"since": _TIME.read(data["since"])},
        )
        cause = (signal.pipeline, signal.kind, signal.detector, signal.severity, signal.status)
        place = (signal.topic, signal.partition, signal.offset)
        for name, value in (("id", signal_id(*cause, place, signal.since)), ("source", signal.source)):
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
    _one_of(get_args(SignalDetector), data["detector"], "detector")
    _one_of(get_args(Level), data["level"], "level")
    _one_of(get_args(Severity), data["severity"], "severity")
    _one_of(get_args(Status), data["status"], "status")
    _check_list(data.get("columns"), _COLUMN_FIELDS, "columns")
    _check_list(data.get("slices"), _SLICE_FIELDS, "slices")
    return event


def _check_list(items: Any, fields: dict[str, Field], name: str) -> None:
    if type(items) is not list:
        raise InvalidRecord("schema", f"field {name!r} must be an array")
    for item in items:
        check(item, fields)


def _known(item: dict[str, Any], fields: dict[str, Field]) -> dict[str, Any]:
    """The fields that we know, of an object that may have others."""
    return {name: item[name] for name in fields if name in item}


def _without_nulls(column: ColumnMove) -> dict[str, Any]:
    return {name: value for name, value in column._asdict().items() if value is not None}


def _column_moved(column: ColumnMove) -> str:
    of = column.category or column.fault
    name = f"{column.name} ({of})" if of else column.name
    psi = "" if column.psi is None else f" (PSI {column.psi:.2g})"
    return f"{name} from {column.before:.4g} to {column.after:.4g}{psi}"


def _slice_moved(move: SliceMove) -> str:
    return f"where {move.column} is {move.value} from {move.before:.4g} to {move.after:.4g}"


def _one_of(values: Collection[str], value: str, name: str) -> None:
    if value not in values:
        raise InvalidRecord("schema", f"field {name!r} must be one of {', '.join(values)}")


def _source(pipeline: str) -> str:
    return f"/driftline/{quote(pipeline, safe='')}"
