"""Parquet files: read as records of a topic in timestamp order, and written atomically."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.core.stream.broker import Record
from flows.core.stream.fields import Field, Flag, Key, Number, Text
from flows.core.stream.times import milliseconds
from flows.errors import ConfigError, StoreError
from flows.host.arrow import write_whole
from flows.pipeline import Stream

TIMESTAMP = "timestamp"  # the optional column of the records' own timestamps
_BATCH = 5_000  # rows
_MEMORY = "1GB"  # memory limit of sorting a file; DuckDB spills to disk above it
_ROW = "file_row_number"  # DuckDB's name


class ParquetRecords:
    """The rows of `file` as records of `stream`, whose topic has `partitions` partitions.

    The columns are the payload's fields; those that the stream declares are read, and timestamps become
    ISO 8601 in UTC. A record's timestamp is the event time, or the column `timestamp` (ms). Its offset is the
    row number in the file, and its partition is the one that a producer would choose. A file that is not in
    timestamp order is sorted. Raises `ConfigError` for an unreadable file, a missing column, and a column of
    another type than its field.
    """

    def __init__(self, file: Path, stream: Stream, partitions: int) -> None:
        self._file = file
        self._stream = stream
        self._partitions = partitions
        with self._explained():
            self._parquet = pq.ParquetFile(file)
        schema = self._parquet.schema_arrow
        self._check(schema)
        self._fields = [name for name in stream.fields if name in schema.names]
        self._time = TIMESTAMP if TIMESTAMP in schema.names else stream.time
        self._read_time = stream.event_time if self._time == stream.time else milliseconds

    def __len__(self) -> int:
        rows: int = self._parquet.metadata.num_rows
        return rows

    def __iter__(self) -> Iterator[Record]:
        with self._explained():
            first = 0
            for batch in self._batches():
                following = first + batch.num_rows
                is_sorted_copy = _ROW in batch.schema.names
                rows = batch.column(_ROW).to_pylist() if is_sorted_copy else range(first, following)
                yield from self._records(batch, rows)
                first = following

    def _check(self, schema: pa.Schema) -> None:
        for name, field in self._stream.fields.items():
            if name in schema.names:
                found = schema.field(name).type
                if not _is(field, found):
                    raise ConfigError(
                        f"{self._file}: column {name!r} must be {type(field).__name__}, as topic "
                        f"{self._stream.topic!r} declares it, got {found}; write it as one"
                    )
            elif field.required:
                raise ConfigError(
                    f"{self._file}: column {name!r} is missing, which topic {self._stream.topic!r} "
                    f"declares; add it (the columns are {', '.join(schema.names)})"
                )
        if TIMESTAMP in schema.names and not _is_timestamp(schema.field(TIMESTAMP).type):
            raise ConfigError(
                f"{self._file}: column {TIMESTAMP!r} must be timestamps or milliseconds, got "
                f"{schema.field(TIMESTAMP).type}; convert or rename it"
            )

    def _batches(self) -> Iterator[pa.RecordBatch]:
        columns = list(dict.fromkeys([*self._fields, self._time]))
        if self._is_in_order():
            yield from self._parquet.iter_batches(_BATCH, columns=columns)
        else:
            with tempfile.TemporaryDirectory() as folder:
                yield from pq.ParquetFile(self._sorted(columns, Path(folder))).iter_batches(_BATCH)

    def _is_in_order(self) -> bool:
        latest = 0
        for batch in self._parquet.iter_batches(_BATCH, columns=[self._time]):
            times = self._times(batch.column(0))
            if any(later < earlier for earlier, later in pairwise([latest, *times])):
                return False
            latest = times[-1] if times else latest
        return True

    def _sorted(self, columns: list[str], folder: Path) -> Path:
        """Return a copy of the file in `folder`, sorted by time; rows of equal time keep their order."""
        names, time = ", ".join(map(_quoted, [*columns, _ROW])), _quoted(self._time)
        if _is_text(self._parquet.schema_arrow.field(self._time).type):
            time = f"TRY_CAST({time} AS TIMESTAMPTZ)"
        copy = folder / "sorted.parquet"
        with closing(duckdb.connect()) as database:
            database.execute(f"SET memory_limit = '{_MEMORY}'")
            database.execute("SET temp_directory = ?", [str(folder)])
            rows = f"SELECT {names} FROM read_parquet(?, file_row_number = true)"  # noqa: S608 (quoted)
            order = f"ORDER BY {time} NULLS FIRST, {_ROW}"
            database.execute(f"COPY ({rows} {order}) TO '{copy}' (FORMAT parquet)", [str(self._file)])
        return copy

    def _records(self, batch: pa.RecordBatch, rows: Any) -> Iterator[Record]:
        times = self._times(batch.column(self._time))
        payloads = zip(*[_values(batch.column(name)) for name in self._fields], strict=True)
        key = self._fields.index(self._stream.id)
        topic, partitions = self._stream.topic, self._partitions
        for row, time, values in zip(rows, times, payloads, strict=True):
            encoded = b"" if values[key] is None else str(values[key]).encode()
            value = orjson.dumps(dict(zip(self._fields, values, strict=True)))
            yield Record(topic, crc32(encoded) % partitions, row, time, encoded, value, ())

    def _times(self, column: pa.Array) -> list[int]:
        """Return the timestamps (ms) of a column; 0 for a missing or invalid one."""
        if pa.types.is_timestamp(column.type):
            in_ms = column.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
            return [time or 0 for time in in_ms.to_pylist()]
        return [self._time_of(value) for value in column.to_pylist()]

    def _time_of(self, value: Any) -> int:
        try:
            return self._read_time(value)
        except ValueError:
            return 0

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException, duckdb.Error) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"{self._file} cannot be read as parquet: {reason}") from error


def write_parquet(file: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write the tables atomically, each as at least one row group; raises `StoreError` if the disk fails."""
    try:
        write_whole(file, tables, schema)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error}; check its folder and disk") from error


def _is(field: Field, column: pa.DataType) -> bool:
    """Return whether a column of this type can hold the field."""
    if pa.types.is_null(column):
        return not field.required
    match field:
        case Text():
            return _is_text(column)
        case Key(kind=kind):
            is_integer = bool(pa.types.is_integer(column))
            return is_integer if kind == "integer" else _is_text(column) or (kind is None and is_integer)
        case Number():
            return _is_number(column)
        case Flag(true=str()):
            return _is_text(column)
        case Flag(true=bool()):
            return bool(pa.types.is_boolean(column))
        case Flag():
            return _is_number(column)
    return bool(pa.types.is_timestamp(column)) or _is_number(column) or _is_text(column)


def _is_number(column: pa.DataType) -> bool:
    return bool(pa.types.is_integer(column) or pa.types.is_floating(column))


def _is_timestamp(column: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(column) or pa.types.is_integer(column)) or _is_text(column)


def _is_text(column: pa.DataType) -> bool:
    if pa.types.is_dictionary(column):
        column = column.value_type
    return bool(pa.types.is_string(column) or pa.types.is_large_string(column))


def _values(column: pa.Array) -> list[Any]:
    """Return the values as in JSON; timestamps without a time zone are taken as UTC."""
    if pa.types.is_timestamp(column.type):
        # without a time zone, so that strftime needs no time zone database
        moments = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.timestamp("us"))
        column = pc.strftime(moments, "%Y-%m-%dT%H:%M:%SZ")
    values: list[Any] = column.to_pylist()
    return values


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
