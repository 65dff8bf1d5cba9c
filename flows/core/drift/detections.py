"""The alarms of all detectors in one form, from which signals are built."""

from collections.abc import Sequence
from typing import NamedTuple

from flows.core.drift.attribution import LEVEL, AttributionAlarm
from flows.core.drift.concept import ConceptAlarm
from flows.core.drift.features import DriftedColumn, FeatureAlarm
from flows.core.drift.levels import (
    NAMED,
    ColumnMove,
    Detector,
    DriftKind,
    Level,
    Severity,
    SignalDetector,
    SliceMove,
)
from flows.core.drift.quality import QualityAlarm
from flows.core.drift.signal import severity

_LARGEST = 1e150  # the largest number in a message
_LONGEST = 256  # characters of a category


class Detection(NamedTuple):
    """An alarm or a warning; the fields are those of `DriftSignal`."""

    kind: DriftKind
    detector: SignalDetector
    level: Level
    severity: Severity
    before: float
    after: float
    width: int
    since: int
    columns: Sequence[ColumnMove]
    slices: Sequence[SliceMove]


def concept_detection(alarm: ConceptAlarm, detector: Detector, columns: Sequence[ColumnMove]) -> Detection:
    """Return the detection of concept drift; `columns` are the features that moved furthest."""
    return Detection(
        "concept",
        detector,
        alarm.level,
        severity(alarm.before, alarm.after) if alarm.level == "alarm" else "warning",
        sendable(alarm.before),
        sendable(alarm.after),
        alarm.width,
        alarm.since,
        columns,
        _sendable_slices(alarm.slices),
    )


def column_detection(kind: DriftKind, alarm: FeatureAlarm, columns: Sequence[ColumnMove]) -> Detection:
    """Return the detection of feature or prediction drift; `columns` are the ones that moved furthest."""
    furthest = alarm.moved[0]
    return Detection(
        kind,
        "psi",
        alarm.level,
        _severity(alarm.level),
        sendable(furthest.before),
        sendable(furthest.after),
        alarm.width,
        alarm.since,
        columns,
        _sendable_slices(furthest.slices),
    )


def quality_detection(alarm: QualityAlarm) -> Detection:
    """Return the detection of bad data."""
    worst = alarm.findings[0]
    return Detection(
        "quality",
        "data_quality",
        alarm.level,
        _severity(alarm.level),
        sendable(worst.before),
        sendable(worst.after),
        alarm.width,
        alarm.since,
        [ColumnMove(f.column, f.before, f.after, fault=f.fault) for f in alarm.findings[:NAMED]],
        (),
    )


def attribution_detection(alarm: AttributionAlarm) -> Detection:
    """Return the detection of attribution drift; the reference has an nDCG of 1 with itself."""
    return Detection(
        "attribution",
        "ndcg",
        LEVEL,
        _severity(LEVEL),
        1.0,
        alarm.ndcg,
        alarm.width,
        alarm.since,
        [ColumnMove(_sendable_name(moved.name), moved.before, moved.after) for moved in alarm.moved],
        (),
    )


def column_move(moved: DriftedColumn) -> ColumnMove:
    """Return a drifted column in the form of a signal."""
    category = None if moved.category is None else _sendable_name(moved.category)
    before, after = sendable(moved.before), sendable(moved.after)
    return ColumnMove(moved.column, before, after, moved.psi, moved.p_value, category)


def sendable(number: float) -> float:
    """Return the number within the bounds of a message, since JSON has no infinity."""
    return max(-_LARGEST, min(_LARGEST, number))


def _severity(level: Level) -> Severity:
    return "critical" if level == "alarm" else "warning"


def _sendable_slices(slices: Sequence[SliceMove]) -> list[SliceMove]:
    return [
        move._replace(
            value=_sendable_name(move.value), before=sendable(move.before), after=sendable(move.after)
        )
        for move in slices
    ]


def _sendable_name(category: str) -> str:
    """Return the category as a message accepts it: not empty, and no longer than a name."""
    return category[:_LONGEST] or "(empty)"
