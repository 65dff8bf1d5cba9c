"""What `driftline publish` sends: the records of a file or data set, looked at before any is sent."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from zlib import crc32

import orjson

from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.times import in_milliseconds
from flows.errors import ConfigError, InvalidRecord
from flows.pipeline import Pipeline, Stream

_SHOWN = 3  # faults that an error names
_EVENTS = 20_000  # among whose ids the labels' events are looked for
_DELAYS = 10_000  # labels whose delay is measured

Advance = Callable[[int], None]


@dataclass(frozen=True)
class FileRecords:
    """The lines of a file, each the JSON of one record of `stream`, in the file's order.

    A line without a readable id has no key; one without a readable time has that of the line before it.
    """

    path: Path
    stream: Stream

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise ConfigError(f"there is no file {self.path}; name one with a JSON record on each line")

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    def __iter__(self) -> Iterator[Outgoing]:
        time: int | None = None
        for _, line in self._lines():
            record = self._record(line, time)
            time = record.timestamp
            yield record

    def place(self, number: int) -> str:
        """Where the record of this number, from 0 on, is in the file."""
        lines = (line for line, _ in self._lines())
        return f"line {next(line for index, line in enumerate(lines) if index == number)}"

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if stripped := line.strip():
                    yield number, stripped

    def _record(self, line: bytes, time: int | None) -> Outgoing:
        key = None
        try:
            payload = orjson.loads(line)
            key = str(payload[self.stream.id]).encode()
            time = self.stream.event_time(payload[self.stream.time])
        except (orjson.JSONDecodeError, TypeError, KeyError, IndexError, ValueError):
            pass
        return Outgoing(self.stream.topic, line, key, timestamp=time)


@dataclass
class Survey:
    """What the records are like: how many of each topic, how many no flow can use, and their label delay.

    `faults` maps the numbers of the first bad ones, from 0 on, to what is wrong with them. `delay` is the
    median time (ms) from an event to its label, or None where no label meets its event.
    """

    counts: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    faults: dict[int, str] = field(default_factory=dict)
    delay: int | None = None

    def check(self, place: Callable[[int], str]) -> None:
        """Raise `ConfigError` when there are bad records; `place` says where the record of a number is."""
        if not self.bad:
            return
        named = "; ".join(f"{place(number)}: {fault}" for number, fault in self.faults.items())
        more = f"; and {self.bad - len(self.faults):,} more" if self.bad > len(self.faults) else ""
        raise ConfigError(
            f"of {self.counts.total():,} records {self.bad:,} would be dead letters: {named}{more}. "
            "Nothing was published; correct them, or send them as they are with --unchecked"
        )


def survey(pipeline: Pipeline, records: Iterable[Outgoing], advance: Advance) -> Survey:
    """Look at all records as the flows will: with the decoders and the lateness of the pipeline."""
    looks = _Looks(pipeline)
    for number, record in enumerate(records):
        looks.at(number, record)
        if number % 1000 == 999:
            advance(1000)
    return looks.result()


class _Looks:
    """A survey under way."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._events, self._labels = pipeline.events.topic, pipeline.labels.topic
        self._decoders = {stream.topic: stream.decoder() for stream in pipeline.input_streams}
        self._lateness = in_milliseconds(pipeline.lateness)
        self._slots = pipeline.partitions
        self._newest: dict[tuple[str, int], int] = {}
        self._times: dict[str, int] = {}  # of events, by id
        self._delays: list[int] = []
        self._survey = Survey()

    def at(self, number: int, record: Outgoing) -> None:
        """Look at one record."""
        survey = self._survey
        survey.counts[record.topic] += 1
        try:
            event_id, time, _ = self._decoded(record)
        except InvalidRecord as fault:
            survey.bad += 1
            if len(survey.faults) < _SHOWN:
                survey.faults[number] = str(fault)
            return
        self._measure(record.topic, event_id, time)

    def result(self) -> Survey:
        """The survey of what was looked at."""
        if self._delays:
            self._survey.delay = median_low(self._delays)
        return self._survey

    def _decoded(self, record: Outgoing) -> tuple[str, int, object]:
        if record.topic not in self._decoders:
            raise InvalidRecord("schema", f"topic {record.topic!r} is no input of the pipeline")
        at = 0 if record.timestamp is None else record.timestamp
        log = Record(record.topic, 0, 0, at, record.key, record.value, record.headers)
        decoded = self._decoders[record.topic].decode(log)
        if record.topic != self._labels:
            self._check_lateness(record, decoded.time)
        return decoded

    def _check_lateness(self, record: Outgoing, time: int) -> None:
        """Raise `InvalidRecord` where the intake of the record's slot would."""
        slot = (record.topic, crc32(record.key or b"") % self._slots)
        newest = self._newest[slot] = max(self._newest.get(slot, 0), time)
        if time < newest - self._lateness:
            behind = (newest - time) / 1000
            raise InvalidRecord("late", f"its event time is {behind:g} s behind that of a record before it")

    def _measure(self, topic: str, event_id: str, time: int) -> None:
        if topic == self._events and len(self._times) < _EVENTS:
            self._times[event_id] = time
        elif topic == self._labels and len(self._delays) < _DELAYS:
            asked = self._times.pop(event_id, None)
            if asked is not None:
                self._delays.append(max(0, time - asked))
