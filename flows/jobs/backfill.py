"""The backfill: features computed from history by the code of the predict flow, written to Feast's stores.

The history is that of the pipeline's own topics, or parquet files that hold the records of topics. What the
engine knows at its end can be left as a seed, with which the predict flow starts warm.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import orjson

from flows.adapters.feast.offline import OfflineStore
from flows.adapters.parquet.records import ParquetRecords
from flows.adapters.sqlite.seed import write_seed
from flows.core.features.batch import Row
from flows.core.features.engine import FeatureEngine, FeatureVector
from flows.core.features.plan import FeaturePlan
from flows.core.serving.served_rows import ServedRow
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.dead_tally import DeadTally, dead_of
from flows.core.stream.merge import clamp_future_timestamps, merged
from flows.errors import ConfigError
from flows.pipeline import Pipeline, Stream
from flows.runtime.engine import Engine
from flows.runtime.user_faults import trace

if TYPE_CHECKING:
    from flows.adapters.feast.online import OnlineStore

BATCH = 1000  # records; a batch leaves one row for each entity that it touched
_OFFLINE_ROWS = 100_000  # rows that are written to the offline store at once
_ONLINE_ROWS = 100_000  # entities whose newest rows are kept before they are written to the online store


class History(Protocol):
    """Records in the order in which a flow would read them; `len` counts them.

    `ends` has the offset that follows what is read, by "topic/partition", where the records are in the log.
    """

    @property
    def ends(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Record]: ...


class TopicHistory:
    """The records of `streams` from their beginning to the end that they have now; `now` is the time (ms)."""

    def __init__(self, broker: Broker, streams: Sequence[Stream], now: int) -> None:
        self._broker = broker
        self._now = now
        self._decoders = {stream.topic: stream.decoder() for stream in streams}
        self._bounds = {
            TopicPartition(topic, number): bounds
            for topic in self._decoders
            for number, bounds in enumerate(broker.offsets(topic))
        }
        self.ends = {f"{p.topic}/{p.partition}": end for p, (_, end) in self._bounds.items()}

    def __len__(self) -> int:
        return sum(end - start for start, end in self._bounds.values())

    def __iter__(self) -> Iterator[Record]:
        return merged(self._log(partition, *bounds) for partition, bounds in self._bounds.items())

    def _log(self, partition: TopicPartition, start: int, end: int) -> Iterator[Record]:
        for records in read_range(self._broker, partition, start, end):
            yield from clamp_future_timestamps(records, self._now, self._decoders)


class FileHistory:
    """The records of parquet files, each given as `TOPIC=FILE`; raises `ConfigError` for what is wrong.

    A flow that starts after them begins at the beginning of its topics.
    """

    def __init__(self, files: Sequence[str], pipeline: Pipeline) -> None:
        streams = {stream.topic: stream for stream in pipeline.feature_streams}
        self.ends: Mapping[str, int] = {}
        named = dict(_named(file, streams) for file in files)
        if len(named) < len(files):
            raise ConfigError("a topic is named twice; give the records of each topic as one file")
        self._logs = [
            ParquetRecords(named[s.topic], s, pipeline.partitions)
            for s in streams.values()
            if s.topic in named
        ]

    def __len__(self) -> int:
        return sum(map(len, self._logs))

    def __iter__(self) -> Iterator[Record]:
        return merged(self._logs)


def _named(file: str, streams: Mapping[str, Stream]) -> tuple[str, Path]:
    topic, separator, path = file.partition("=")
    if not separator:
        raise ConfigError(f"{file!r} does not name its topic; write it as TOPIC=FILE.parquet")
    if topic not in streams:
        raise ConfigError(f"{topic!r} is no input of the features; those are {', '.join(streams)}")
    if not Path(path).is_file():
        raise ConfigError(f"there is no file {path!r}; name a parquet file with the records of {topic!r}")
    return topic, Path(path)


class Backfill:
    """Computes the features of a history and writes them to Feast's stores."""

    def __init__(
        self, engine: FeatureEngine, plan: FeaturePlan, offline: OfflineStore, online: "OnlineStore"
    ) -> None:
        self.engine = engine
        self.records = 0  # read so far
        self.written = Counter({"offline": 0, "online": 0})  # rows
        self.dead = DeadTally()
        self._places = plan.places
        self._offline = offline
        self._online = online
        self._rows: list[Row] = []
        self._served: list[ServedRow] = []
        self._newest: dict[tuple[str, str | int], Row] = {}

    def run(self, history: Iterable[Record]) -> Iterator[int]:
        """Read `history`; yields how many records it was after each batch. At the end all is written."""
        records = iter(history)
        while batch := list(islice(records, BATCH)):
            self._take(batch)
            self.records += len(batch)
            yield len(batch)
        self._write_offline()
        self._write_online()

    def summary(self, seconds: float) -> Iterator[str]:
        """The counts, the first dead letter of each reason, and the first traceback, each in a line."""
        dead = ", ".join(f"{number:,} {reason}" for reason, number in self.dead.number.most_common())
        yield (
            f"{self.records:,} records, {self.dead.total:,} dead letters{dead and f' ({dead})'}, "
            f"{self.written['offline']:,} rows written offline and {self.written['online']:,} online, "
            f"{len(self.engine):,} entities known at the end, {seconds:.1f} s"
        )
        for reason, first in self.dead.first.items():
            place = f"{first.topic}, partition {first.partition}, offset {first.offset}"
            yield f"the first {reason}: {place}: {first.detail}"
        if self.dead.error and (shown := trace(self.dead.error)):
            yield f"the first error of your own code:\n{shown}"

    @property
    def failed(self) -> bool:
        """Whether there were records, and none of them could be used."""
        return 0 < self.records <= self.dead.total

    def _take(self, batch: Sequence[Record]) -> None:
        computed = self.engine.take(batch)
        for letter in computed.dead:
            self.dead.add(dead_of(letter))
        for error in computed.errors:
            self.dead.failed(error)
        self._rows += computed.rows
        self._served += [row for answer in computed.answers for row in self._rows_of(answer)]
        for row in computed.rows:
            known = self._newest.get((row.view, row.key))
            if known is None or row.time >= known.time:
                self._newest[row.view, row.key] = row
        if len(self._rows) + len(self._served) >= _OFFLINE_ROWS:
            self._write_offline()
        if len(self._newest) >= _ONLINE_ROWS:
            self._write_online()

    def _rows_of(self, answer: FeatureVector) -> Iterator[ServedRow]:
        """What the question was served, as the materialize flow writes it."""
        _, question, vector = answer
        for view, start, stop in self._places:
            key = question.payload.get(view.entity)
            if key is not None:
                yield ServedRow(view.name, key, question.moment, vector[start:stop])

    def _write_offline(self) -> None:
        self._offline.append(self._rows, time.time_ns() // 1_000_000, self._served)
        self.written["offline"] += len(self._rows) + len(self._served)
        self._rows, self._served = [], []

    def _write_online(self) -> None:
        self.written["online"] += self._online.write(self._newest.values())
        self._newest = {}


def history_of(running: Engine, broker: Broker, files: Sequence[str]) -> History:
    """The history in `files`, or without any in the topics that the predict flow reads."""
    pipeline = running.pipeline
    if files:
        return FileHistory(files, pipeline)
    return TopicHistory(broker, pipeline.feature_streams, time.time_ns() // 1_000_000)


def feature_engine(running: Engine, plan: FeaturePlan) -> FeatureEngine:
    """The engine of a pipeline before its first record, with an intake for each slot."""
    pipeline = running.pipeline
    intakes = [pipeline.intake(plan) for _ in range(pipeline.partitions)]
    return FeatureEngine(intakes, plan, running.transformer(plan), pipeline.topic("dead-letters"))


def check_cold(running: Engine) -> None:
    """Raise `ConfigError` where the predict flow has a state, which a seed would not change."""
    state = running.recovery_dir("predict")
    if state.exists():
        raise ConfigError(
            f"the predict flow of {running.pipeline.name} has a state already, in {state}; start over "
            "(see 'Start over' in docs/how-to.md), or leave --seed out"
        )


def leave_seed(running: Engine, plan: FeaturePlan, engine: FeatureEngine, ends: Mapping[str, int]) -> None:
    """Write what the engine knows as the seed of the predict flow, which goes on at the offsets `ends`."""
    states = [intake.snapshot() for intake in engine.intakes]
    if not ends:  # the rows of files are nothing that has been read of a topic
        states = [state | {"next": {}} for state in states]
    write_seed(running.seed_file, plan.hash, ends, map(orjson.dumps, states), engine.entities())
