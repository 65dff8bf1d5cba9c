"""Drift signals as the learner raises them."""

from dataclasses import replace

from made_flights import HOUR, NOON

from flows.core.drift.signal import DriftSignal, signal_id
from flows.core.stream.broker import Outgoing

CONCEPT_ALARM = DriftSignal(
    id=signal_id("p", "concept", "adwin", "critical", "firing", ("labels", 0, 4711), 1_357_000_000_000),
    pipeline="p",
    model_version="v1",
    detector="adwin",
    kind="concept",
    level="alarm",
    severity="critical",
    sequence=1,
    time=1_357_035_300_000,
    estimate_before=0.2,
    estimate_after=0.35,
    width=12_345,
    since=1_357_000_000_000,
    topic="labels",
    partition=0,
    offset=4711,
)


def changed(signal: DriftSignal, **changes: object) -> DriftSignal:
    """Return the signal with other data and the matching id."""
    other = replace(signal, **changes)  # type: ignore[arg-type]
    cause = (other.pipeline, other.kind, other.detector, other.severity, other.status)
    return replace(other, id=signal_id(*cause, (other.topic, other.partition, other.offset), other.since))


def signal(sequence: int, since: int = NOON) -> DriftSignal:
    """Return the signal raised by label `sequence`, where ADWIN kept the labels since `since` (ms)."""
    place = ("flight_labels", 0, sequence)
    cause = ("flight_delays", "concept", "adwin", "critical", "firing")
    return DriftSignal(
        id=signal_id(*cause, place, since),
        pipeline="flight_delays",
        model_version="v1",
        detector="adwin",
        kind="concept",
        level="alarm",
        severity="critical",
        sequence=sequence,
        time=NOON + 10 * HOUR,
        estimate_before=0.1,
        estimate_after=0.3,
        width=100,
        since=since,
        topic=place[0],
        partition=place[1],
        offset=place[2],
    )


def outgoing(signal: DriftSignal) -> Outgoing:
    """Return the signal as a record of the drift topic."""
    headers = (("id", signal.id.encode()),)
    return Outgoing("flight_delays.drift", signal.to_json(), signal.id.encode(), 0, signal.time, headers)
