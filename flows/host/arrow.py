"""Arrow types of features and keys, and parquet files that are written atomically."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows.core.features.plan import Dtype
from flows.core.stream.fields import INT64, KeyKind
from flows.host.files import replacing

TYPES: Mapping[Dtype, pa.DataType] = {"int": pa.int64(), "float": pa.float64(), "string": pa.string()}
KEY_TYPES: Mapping[KeyKind, pa.DataType] = {"text": pa.string(), "integer": pa.int64()}


def column(values: Iterable[Any], dtype: pa.DataType) -> pa.Array:
    """Return the values as a column; a column of floats takes the nearest float of each number."""
    if dtype == pa.float64():
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, dtype)


class Fit:
    """Checks rows of values against `dtypes`; a type that no feature has is a time, as in events."""

    def __init__(self, dtypes: Iterable[pa.DataType]) -> None:
        self._kinds = [_PYTHON.get(dtype, (int, str)) for dtype in dtypes]

    def __call__(self, values: Sequence[Any]) -> bool:
        """Return whether the row has the right length, and each value is null or fits its type."""
        return len(values) == len(self._kinds) and all(
            value is None or (type(value) in kinds and (kinds != _WHOLE or value in INT64))
            for value, kinds in zip(values, self._kinds, strict=True)
        )


_WHOLE = (int,)
_PYTHON: Mapping[pa.DataType, tuple[type, ...]] = {
    pa.int64(): _WHOLE,
    pa.float64(): (int, float, bool),
    pa.string(): (str,),
    pa.bool_(): (bool,),
}


def write_whole(file: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write the tables atomically, each as at least one row group.

    Raises `OSError` if the disk fails, and then leaves no file.
    """
    with replacing(file) as unfinished, unfinished.open("wb") as out, pq.ParquetWriter(out, schema) as writer:
        for table in tables:
            writer.write_table(table)
