"""What parquet files have in common: the types of features, and that a file is whole or not there at all."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows.core.features.plan import Dtype
from flows.core.stream.fields import KeyKind
from flows.host.files import replacing

TYPES: Mapping[Dtype, pa.DataType] = {"int": pa.int64(), "float": pa.float64(), "string": pa.string()}
KEY_TYPES: Mapping[KeyKind, pa.DataType] = {"text": pa.string(), "integer": pa.int64()}


def column(values: Iterable[Any], dtype: pa.DataType) -> pa.Array:
    """The values as a column; where it holds floats, numbers become the nearest ones."""
    if dtype == pa.float64():
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, dtype)


class Fit:
    """Whether `column` takes values for `dtypes`; those of any other type are times, as events have them."""

    def __init__(self, dtypes: Iterable[pa.DataType]) -> None:
        self._kinds = [_PYTHON.get(dtype, (int, str)) for dtype in dtypes]

    def __call__(self, values: Sequence[Any]) -> bool:
        """Whether there are as many, and each is null or fits."""
        return len(values) == len(self._kinds) and all(
            value is None or (type(value) in kinds and (kinds != _WHOLE or value in _INT64))
            for value, kinds in zip(values, self._kinds, strict=True)
        )


_INT64 = range(-(2**63), 2**63)
_WHOLE = (int,)
_PYTHON: Mapping[pa.DataType, tuple[type, ...]] = {
    pa.int64(): _WHOLE,
    pa.float64(): (int, float, bool),
    pa.string(): (str,),
    pa.bool_(): (bool,),
}


def write_whole(file: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write the tables, each as a row group at least; the file appears under its name when it is complete.

    Raises `OSError` when the disk refuses, and leaves nothing then.
    """
    with replacing(file) as unfinished, unfinished.open("wb") as out, pq.ParquetWriter(out, schema) as writer:
        for table in tables:
            writer.write_table(table)
