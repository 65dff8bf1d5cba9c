"""Triggers: the causes for which the retrain flow trains candidates.

An alarm of concept drift has its own cool-down. A schedule, a floor and the first search are read from the
metrics topic, in event time, so that a replay has the same triggers as live traffic.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal, NamedTuple

import orjson

from flows.core.drift.signal import DriftSignal
from flows.core.stream.broker import Record
from flows.core.stream.times import iso, milliseconds
from flows.errors import InvalidRecord

TriggerKind = Literal["alarm", "schedule", "floor", "first", "command"]


class Trigger(NamedTuple):
    """A cause to train candidates.

    `id` is the same in every replay, and `name` begins the versions of its candidates. `why` is for people.
    The candidates learn labels from `since` (ms) on; `time` is the event time (ms) of the cause, and `parent`
    the version of the champion then.
    """

    kind: TriggerKind
    id: str
    name: str
    why: str
    since: int
    time: int
    parent: str

    def replaces(self, other: "Trigger") -> bool:
        """Return whether this newer trigger makes another one obsolete that is not answered yet.

        An alarm tells when the error changed, which a schedule or a floor does not. A command and the first
        search are always answered.
        """
        return other.kind in ("schedule", "floor") or (other.kind == self.kind == "alarm")


class Measurement(NamedTuple):
    """The champion and its metrics over the last labels, by name, at an event time (ms).

    `labels` counts those so far.
    """

    time: int
    champion: str
    recent: Mapping[str, float | None]
    labels: int = 0


class MetricFloor(NamedTuple):
    """The worst allowed value of a metric; `is_score`: higher values of the metric are better."""

    metric: str
    value: float
    is_score: bool

    def is_broken(self, measured: float) -> bool:
        """Return whether the value is worse than allowed.

        >>> MetricFloor("ROCAUC", 0.7, is_score=True).is_broken(0.65)
        True
        >>> MetricFloor("LogLoss", 0.5, is_score=False).is_broken(0.45)
        False
        """
        return measured < self.value if self.is_score else measured > self.value


def of_alarm(signal: DriftSignal) -> Trigger | None:
    """Return the trigger of a signal, None if it asks for no training.

    A warning may pass, features may move without the error, and broken data must not be learned.
    """
    if (signal.kind, signal.level, signal.status) != ("concept", "alarm", "firing"):
        return None
    why = (
        f"the error rose from {signal.estimate_before:.4g} to {signal.estimate_after:.4g} ({signal.detector})"
    )
    name = f"v{signal.sequence + 1}"
    return Trigger("alarm", signal.id, name, why, signal.since, signal.time, signal.model_version)


def request(pipeline: str, kind: TriggerKind, why: str, since: int, at: Measurement) -> Trigger:
    """Return the trigger of a schedule, a floor or a command, at the last measurement.

    >>> at = Measurement(1_357_041_600_000, "v1", {})
    >>> request("flight_delays", "schedule", "a month has passed", 1_354_449_600_000, at).name
    's20130101T120000'
    """
    cause = orjson.dumps([pipeline, kind, since, at.time])
    identity = f"retrain_{sha256(cause).hexdigest()[:32]}"
    moment = iso(at.time).partition(".")[0].replace("-", "").replace(":", "")
    return Trigger(kind, identity, f"{kind[0]}{moment}", why, since, at.time, at.champion)


def read_measurement(record: Record) -> Measurement:
    """Return the measurement in a record of the metrics topic; raises `InvalidRecord` ("schema").

    `recent` is empty in a record without an assessment.
    """
    try:
        raw = orjson.loads(record.value or b"")
        assessment = raw.get("assessment")
        recent = assessment["recent"]["metrics"]["model"] if assessment else {}
        labels = int(raw["labels"])
        return Measurement(milliseconds(raw["time"]), str(raw["model"]), dict(recent), labels)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRecord("schema", f"not metrics: {type(error).__name__}: {error}") from None


class MetricTriggers:
    """Raises the triggers of metrics; durations are in milliseconds of event time.

    The schedule counts from the last training, and before the first one from the first measurement. Neither
    is raised within `cool_down` of the last training of any cause, nor of the first measurement. The
    candidates learn the last `window`.

    The first search comes after the `first` labels, and compares on all of them. There is none with 0, nor if
    the first measurement has more labels: then the declared model has a history.
    """

    def __init__(
        self,
        pipeline: str,
        schedule: int | None,
        floor: MetricFloor | None,
        cool_down: int,
        window: int,
        first: int = 0,
    ) -> None:
        self.last: int | None = None  # event time (ms) of the last training, or of the first measurement
        self.labels: int | None = None  # the most of a measurement
        self._pipeline = pipeline
        self._schedule = schedule
        self._floor = floor
        self._cool_down = cool_down
        self._window = window
        self._first = first

    def trained(self, time: int) -> None:
        """Note a training that was triggered at an event time (ms)."""
        self.last = time if self.last is None else max(self.last, time)

    def measured(self, at: Measurement) -> Trigger | None:
        """Return the trigger that follows from a measurement, if any."""
        if self.last is None:
            self.last = at.time
        before = at.labels if self.labels is None else self.labels
        self.labels = max(before, at.labels)  # after a crash the learner counts again from fewer
        if before < self._first <= at.labels:
            self.trained(at.time)
            return request(self._pipeline, "first", f"the search on the first {at.labels:,} labels", 0, at)
        since_last = at.time - self.last
        if since_last < self._cool_down:
            return None
        kind, why = self._cause(at, since_last)
        if kind is None:
            return None
        self.last = at.time
        return request(self._pipeline, kind, why, max(0, at.time - self._window), at)

    def requested(self, at: Measurement, why: str) -> Trigger:
        """Return the trigger of a person's command; without a window it is for all labels in the log."""
        self.trained(at.time)
        since = max(0, at.time - self._window) if self._window else 0
        return request(self._pipeline, "command", why, since, at)

    def _cause(self, at: Measurement, since_last: int) -> tuple[TriggerKind | None, str]:
        floor = self._floor
        if floor is not None:
            value = at.recent.get(floor.metric)
            if value is not None and floor.is_broken(value):
                return "floor", f"the recent {floor.metric} is {value:.4g}, the floor is {floor.value:g}"
        if self._schedule is not None and since_last >= self._schedule:
            return "schedule", f"the last training was {since_last / 3_600_000:.4g} hours ago"
        return None, ""
