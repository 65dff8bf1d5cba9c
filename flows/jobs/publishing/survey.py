"""A check of all records before the first one is published."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median_low
from zlib import crc32

from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.times import in_milliseconds
from flows.errors import ConfigError, InvalidRecord
from flows.pipeline import Pipeline

_SHOWN = 3  # faults quoted in the error
_EVENTS = 20_000  # events kept, to match labels with
_DELAYS = 10_000  # label delays measured

Advance = Callable[[int], None]


@dataclass
class Survey:
    """Counts the records of each topic and the invalid ones, and measures the label delay.

    `faults` says what is wrong with the first invalid records, by their number from 0 on. `delay` is the
    median time (ms) from an event to its label, None if no label matches an event.
    """

    counts: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    faults: dict[int, str] = field(default_factory=dict)
    delay: int | None = None

    def check(self, place: Callable[[int], str]) -> None:
        """Raise `ConfigError` if a record is invalid; `place` turns a record's number into its place."""
        if not self.bad:
            return
        quoted = "; ".join(f"{place(number)}: {fault}" for number, fault in self.faults.items())
        more = f"; and {self.bad - len(self.faults):,} more" if self.bad > len(self.faults) else ""
        raise ConfigError(
            f"{self.bad:,} of {self.counts.total():,} records would become dead letters: {quoted}{more}. "
            "Nothing was published; correct them, or publish them as they are with --unchecked"
        )


def survey(pipeline: Pipeline, records: Iterable[Outgoing], advance: Advance) -> Survey:
    """Check all records as the flows will, with the pipeline's decoders and lateness."""
    surveyor = _Surveyor(pipeline)
    for number, record in enumerate(records):
        surveyor.add(number, record)
        if number % 1000 == 999:
            advance(1000)
    return surveyor.result()


class _Surveyor:
    """A survey in progress."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._events, self._labels = pipeline.events.topic, pipeline.labels.topic
        self._decoders = {stream.topic: stream.decoder() for stream in pipeline.input_streams}
        self._lateness = in_milliseconds(pipeline.lateness)
        self._slots = pipeline.partitions
        self._newest: dict[tuple[str, int], int] = {}  # event time (ms), by topic and slot
        self._event_times: dict[str, int] = {}  # by id
        self._delays: list[int] = []
        self._survey = Survey()

    def add(self, number: int, record: Outgoing) -> None:
        """Count one record, and check it."""
        survey = self._survey
        survey.counts[record.topic] += 1
        try:
            event_id, time = self._decoded(record)
        except InvalidRecord as fault:
            survey.bad += 1
            if len(survey.faults) < _SHOWN:
                survey.faults[number] = str(fault)
        else:
            self._measure_delay(record.topic, event_id, time)

    def result(self) -> Survey:
        """Return the survey of the records added."""
        if self._delays:
            self._survey.delay = median_low(self._delays)
        return self._survey

    def _decoded(self, record: Outgoing) -> tuple[str, int]:
        """Return the record's id and event time (ms); raise `InvalidRecord` where a flow would."""
        if record.topic not in self._decoders:
            inputs = ", ".join(self._decoders)
            raise InvalidRecord("schema", f"topic must be an input ({inputs}), got {record.topic!r}")
        timestamp = 0 if record.timestamp is None else record.timestamp
        on_log = Record(record.topic, 0, 0, timestamp, record.key, record.value, record.headers)
        event_id, time, _ = self._decoders[record.topic].decode(on_log)
        if record.topic != self._labels:
            self._check_lateness(record, time)
        return event_id, time

    def _check_lateness(self, record: Outgoing, time: int) -> None:
        """Raise `InvalidRecord` if the record is late in its slot."""
        slot = (record.topic, crc32(record.key or b"") % self._slots)
        newest = self._newest[slot] = max(self._newest.get(slot, 0), time)
        if time < newest - self._lateness:
            behind = (newest - time) / 1000
            raise InvalidRecord("late", f"its event time is {behind:g} s behind that of a record before it")

    def _measure_delay(self, topic: str, event_id: str, time: int) -> None:
        if topic == self._events and len(self._event_times) < _EVENTS:
            self._event_times[event_id] = time
        elif topic == self._labels and len(self._delays) < _DELAYS:
            event_time = self._event_times.pop(event_id, None)
            if event_time is not None:
                self._delays.append(max(0, time - event_time))
