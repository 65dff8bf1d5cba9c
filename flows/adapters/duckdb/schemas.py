"""Tables of a recomputation, as Arrow schemas."""

from typing import Any

import pyarrow as pa

from flows.core.features.plan import FeaturePlan
from flows.host.arrow import KEY_TYPES, TYPES, column

_REQUEST_TYPES = {
    "string": pa.string(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "time": pa.timestamp("ms", "UTC"),
}


def records_schema(plan: FeaturePlan, stream: str, texts: set[str]) -> pa.Schema:
    """Return the columns of a stream's records; `texts` are its text fields."""
    views = [view for view in plan.views if view.stream == stream]
    entities = dict.fromkeys(view.entity for view in views)
    columns = dict.fromkeys(column for view in views for column in view.columns)
    place = [("partition", pa.int32()), ("offset", pa.int64()), ("id", pa.string()), ("time", pa.int64())]
    keys = [(f"key_{entity}", KEY_TYPES[plan.key_kinds[entity]]) for entity in entities]
    values = [(f"value_{c}", pa.string() if c in texts else pa.float64()) for c in columns]
    return pa.schema([*place, *keys, *values])


def questions_schema(plan: FeaturePlan) -> pa.Schema:
    """Return the columns of served predictions."""
    head = [
        ("n", pa.int64()),
        ("id", pa.string()),
        ("time", pa.int64()),
        ("moment", pa.int64()),
        ("partition", pa.int32()),
    ]
    keys = [(f"key_{entity}", KEY_TYPES[plan.key_kinds[entity]]) for entity in plan.entities]
    read = [(f"read_{stream}", pa.int64()) for stream in plan.streams]
    features = [(name, TYPES[dtype]) for name, dtype in zip(plan.names, plan.dtypes, strict=True)]
    return pa.schema([*head, *keys, *read, *features])


def requests_schema(plan: FeaturePlan) -> pa.Schema:
    """Return the columns of events: the id and the request fields of the transforms."""
    fields = {field.name: field.kind for transform in plan.transforms for field in transform.fields}
    return pa.schema([("id", pa.string()), *((name, _REQUEST_TYPES[kind]) for name, kind in fields.items())])


def column_of(values: list[Any], of_type: pa.DataType) -> pa.Array:
    """Return a column; integers become texts in a column of strings."""
    if of_type == pa.string():
        values = [None if value is None else str(value) for value in values]
    return column(values, of_type)
