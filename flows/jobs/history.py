"""The history that a backfill reads: the records of topics, or of parquet files, in the order of a flow."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from flows.adapters.parquet.records import ParquetRecords
from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.merge import clamp_future_timestamps, merged
from flows.errors import ConfigError
from flows.pipeline import Pipeline, Stream


class History(Protocol):
    """Records in the order in which a flow reads them; `len` counts them.

    `ends` is the offset after the last record, by "topic/partition"; it is empty if they are not on a topic.
    """

    @property
    def ends(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Record]: ...


class TopicHistory:
    """The records of `streams` up to the current end of their topics; `now` is the time (ms)."""

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
    """The records of parquet files, each given as `TOPIC=FILE`.

    A flow seeded with them starts at the beginning of its topics. Raises `ConfigError` for an argument of
    another form, an unknown topic, a missing file or a topic given twice.
    """

    def __init__(self, arguments: Sequence[str], pipeline: Pipeline) -> None:
        streams = {stream.topic: stream for stream in pipeline.feature_streams}
        self.ends: Mapping[str, int] = {}
        files: dict[str, Path] = {}
        for argument in arguments:
            topic, file = _parsed(argument, streams)
            if topic in files:
                raise ConfigError(f"topic {topic!r} must be given once, got two files; merge them into one")
            files[topic] = file
        self._logs = [
            ParquetRecords(files[topic], stream, pipeline.partitions)
            for topic, stream in streams.items()
            if topic in files
        ]

    def __len__(self) -> int:
        return sum(map(len, self._logs))

    def __iter__(self) -> Iterator[Record]:
        return merged(self._logs)


def _parsed(argument: str, streams: Mapping[str, Stream]) -> tuple[str, Path]:
    """Return the topic and the file of `TOPIC=FILE`."""
    topic, separator, name = argument.partition("=")
    if not separator:
        raise ConfigError(
            f"argument must be TOPIC=FILE.parquet, got {argument!r}; name the topic of the file"
        )
    if topic not in streams:
        raise ConfigError(f"topic must be an input of the features ({', '.join(streams)}), got {topic!r}")
    file = Path(name)
    if not file.is_file():
        raise ConfigError(
            f"file {name!r} does not exist; name a parquet file with the records of topic {topic!r}"
        )
    return topic, file


def history_of(pipeline: Pipeline, broker: Broker, files: Sequence[str]) -> History:
    """Return the history in `files`; without files that of the topics that the predict flow reads."""
    if files:
        return FileHistory(files, pipeline)
    return TopicHistory(broker, pipeline.feature_streams, time.time_ns() // 1_000_000)
