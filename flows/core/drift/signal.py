"""The drift signal, a CloudEvents 1.0 message in JSON (https://github.com/cloudevents/spec).

The drift topic and the webhook carry the same bytes. The labels and annotations of an Alertmanager alert are
in the data, since attributes of a CloudEvent cannot be objects.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import orjson

from flows.core.drift import signal_schema
from flows.core.drift.levels import (
    ColumnMove,
    DriftKind,
    Level,
    Position,
    Severity,
    SignalDetector,
    SliceMove,
    Status,
)
from flows.core.stream.times import iso
from flows.errors import InvalidRecord

__all__ = ["CONTENT_TYPE", "DriftSignal", "Severity", "Status", "severity", "signal_id", "source_of"]

CONTENT_TYPE = "application/cloudevents+json"


def severity(before: float, after: float) -> Severity:
    """Return the severity of a rise of the error: critical if it rose by half or more.

    >>> severity(0.20, 0.25), severity(0.20, 0.35)
    ('warning', 'critical')
    """
    return "critical" if after >= 1.5 * before else "warning"


def source_of(pipeline: str) -> str:
    """Return the `source` attribute of the CloudEvents of a pipeline, a URI reference."""
    return f"/driftline/{quote(pipeline, safe='')}"


def signal_id(
    pipeline: str,
    kind: DriftKind,
    detector: str,
    severity: Severity,
    status: Status,
    place: tuple[str, int, int],
    since: int,
) -> str:
    """Return the id of the signal raised by the record at position `place`, the same in every replay.

    One record may complete several windows, so the time (ms) of the change is part of the id.

    >>> place = ("arrivals", 0, 4711)
    >>> signal_id("flight_delays", "concept", "adwin", "critical", "firing", place, since=1357035300000)
    'drift_588828905753d70aeb540df7a9eb2102'
    """
    cause = orjson.dumps([pipeline, kind, detector, severity, status, *place, since])
    return f"drift_{sha256(cause).hexdigest()[:32]}"


@dataclass(frozen=True)
class DriftSignal:
    """A drift alarm or warning, or its resolution.

    - `id` is that of `signal_id`.
    - `level` is the detector's, `severity` how bad the drift is. `sequence` counts the signals of a kind.
    - `time` is the event time (ms) at which it was raised, by the record at `topic`, `partition`, `offset`.
    - The estimates are those before and after the change: the mean error, the mean or share of the column
      that moved furthest, the worst share of bad values or number of events, or the nDCG of the ranking.
    - The part after the change has `width` records and begins at `since` (ms).
    - `columns` and `slices` are those that moved furthest. The slices are those of the error or of the first
      column.
    - `status` is "resolved" when the condition has cleared. Such a signal equals the one that fired, except
      for its id and for the time, the position and the model version at its end.
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
        """Return the signal that resolves this one at `time` (ms), by the record at position `place`."""
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
        """The `source` attribute of the CloudEvent, a URI reference."""
        return source_of(self.pipeline)

    @property
    def type(self) -> str:
        """The `type` attribute of the CloudEvent."""
        return f"{signal_schema.TYPE}{self.kind}"

    @property
    def labels(self) -> dict[str, str]:
        """The Alertmanager labels, which identify the alert: the same when it fires and when it resolves."""
        return {
            "alertname": "DriftlineDrift",
            "pipeline": self.pipeline,
            "kind": self.kind,
            "detector": self.detector,
            "severity": self.severity,
        }

    @property
    def annotations(self) -> dict[str, str]:
        """The Alertmanager annotations, for people."""
        place = f"{self.topic}/{self.partition}/{self.offset}"
        described = _rank_text if self.kind == "attribution" else _column_text
        moved = [*map(described, self.columns), *map(_slice_text, self.slices)]
        return {
            "summary": f"{self.pipeline}: {self.kind} drift is {self.status} ({self.severity})",
            "description": f"{self.detector} saw {self.estimate_before:.4g} become {self.estimate_after:.4g} "
            f"over {self.width} records since {iso(self.since)}; model {self.model_version}, at {place}"
            + "".join(f"; {each}" for each in moved),
        }

    def to_json(self) -> bytes:
        """Return the message as a structured-mode CloudEvent."""
        data = {name: getattr(self, name) for name in signal_schema.DATA_FIELDS}
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
        """Read a message that `to_json` wrote; raises `InvalidRecord` ("schema") for anything else.

        Labels and annotations are derived from the other fields, so they are not read.
        """
        event = signal_schema.decode(body)
        data = event["data"]
        time, since = signal_schema.TIME.read(event["time"]), signal_schema.TIME.read(data["since"])
        signal = DriftSignal(
            id=event["id"],
            model_version=event["subject"],
            kind=signal_schema.KINDS[event["type"]],
            time=time,
            columns=tuple(
                ColumnMove(**signal_schema.known_fields(column, signal_schema.COLUMN_FIELDS))
                for column in data["columns"]
            ),
            slices=tuple(
                SliceMove(**signal_schema.known_fields(slice_, signal_schema.SLICE_FIELDS))
                for slice_ in data["slices"]
            ),
            **{name: data[name] for name in signal_schema.DATA_FIELDS} | {"since": since},
        )
        _check_derived(signal, event)
        return signal


def _check_derived(signal: DriftSignal, event: dict[str, Any]) -> None:
    """Raise `InvalidRecord` unless id and source follow from the signal's data."""
    cause = (signal.pipeline, signal.kind, signal.detector, signal.severity, signal.status)
    place = (signal.topic, signal.partition, signal.offset)
    for name, value in (("id", signal_id(*cause, place, signal.since)), ("source", signal.source)):
        if event[name] != value:
            raise InvalidRecord("schema", f"field {name!r} does not belong to the signal's data")


def _without_nulls(column: ColumnMove) -> dict[str, Any]:
    return {name: value for name, value in column._asdict().items() if value is not None}


def _column_text(column: ColumnMove) -> str:
    of = column.category or column.fault
    name = f"{column.name} ({of})" if of else column.name
    psi = "" if column.psi is None else f" (PSI {column.psi:.2g})"
    return f"{name} from {column.before:.4g} to {column.after:.4g}{psi}"


def _rank_text(column: ColumnMove) -> str:
    return f"{column.name} from rank {column.before:g} to rank {column.after:g}"


def _slice_text(move: SliceMove) -> str:
    return f"where {move.column} is {move.value} from {move.before:.4g} to {move.after:.4g}"
