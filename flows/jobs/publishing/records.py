"""The records of a file with one JSON record per line."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson

from flows.core.stream.broker import Outgoing
from flows.errors import ConfigError
from flows.pipeline import Stream


@dataclass(frozen=True)
class FileRecords:
    """The records of `stream` in a file, one JSON object per line, in the file's order.

    A line without a readable id gives a record without a key. A line without a readable time gets the time of
    the line before it. Raises `ConfigError` if the file does not exist.
    """

    path: Path
    stream: Stream

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise ConfigError(f"file {self.path} does not exist; name a file with one JSON record per line")

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    def __iter__(self) -> Iterator[Outgoing]:
        time: int | None = None
        for _, line in self._lines():
            record = self._record(line, time)
            time = record.timestamp
            yield record

    def place(self, number: int) -> str:
        """Return the line of a record, given its number from 0 on."""
        line_number, _ = next(islice(self._lines(), number, None))
        return f"line {line_number}"

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Read the lines that are not empty, with their numbers from 1 on."""
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
            pass  # with --unchecked a bad line is published unchanged
        return Outgoing(self.stream.topic, line, key, timestamp=time)
