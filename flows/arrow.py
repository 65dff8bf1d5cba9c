"""What parquet files have in common: the types of features, and that a file is whole or not there at all."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.core.plan import Dtype
from flows.core.schema import KeyKind

TYPES: Mapping[Dtype, pa.DataType] = {"int": pa.int64(), "float": pa.float64(), "string": pa.string()}
KEY_TYPES: Mapping[KeyKind, pa.DataType] = {"text": pa.string(), "integer": pa.int64()}


def write_whole(file: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write the tables, each as a row group at least; the file appears under its name when it is complete.

    Raises `OSError` when the disk refuses, and leaves nothing then.
    """
    unfinished = file.with_name(f"{file.name}.tmp")
    try:
        with unfinished.open("wb") as out:
            with pq.ParquetWriter(out, schema) as writer:
                for table in tables:
                    writer.write_table(table)
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
