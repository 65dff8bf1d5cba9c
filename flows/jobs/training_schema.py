"""The columns of a training set, and of a file of scores."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from flows.core.features.plan import FeaturePlan
from flows.core.models.baselines import Score
from flows.core.stream.fields import Field, Flag, Key, Number, Text, resolved
from flows.core.stream.times import milliseconds
from flows.errors import ConfigError
from flows.host.arrow import KEY_TYPES, TYPES, column
from flows.pipeline import Pipeline

_MOMENT, _TIME = pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC")
_SCORES = dict.fromkeys(
    ("multiclass", "anomaly"), pa.map_(pa.string(), pa.float64())
)  # other tasks: a number
_FIELD_TYPES = ((Text, pa.string()), (Number, pa.float64()), (Flag, pa.bool_()))


def schema_of(pipeline: Pipeline, plan: FeaturePlan) -> pa.Schema:
    """Return the columns of a training set; raises `ConfigError` as `schema_with` does."""
    label = field_type(pipeline.labels.fields[pipeline.target])
    return schema_with(
        pipeline,
        plan,
        [("label", label), ("known_at", _TIME), ("score", score_type(pipeline)), ("model", pa.string())],
    )


def schema_with(
    pipeline: Pipeline, plan: FeaturePlan, results: Sequence[tuple[str, pa.DataType]]
) -> pa.Schema:
    """Return the columns of an event: its id, moment, keys, inputs and features, then those of `results`.

    Raises `ConfigError` if an input's name is already a column.
    """
    fields = resolved(pipeline.events.fields, plan.key_kinds)
    columns = [("id", pa.string()), ("event_timestamp", _MOMENT)]
    columns += [(entity, KEY_TYPES[plan.key_kinds[entity]]) for entity in plan.entities]
    columns += [(name, field_type(fields[name])) for name in pipeline.inputs if name not in plan.entities]
    columns += [(name, TYPES[dtype]) for name, dtype in zip(plan.names, plan.dtypes, strict=True)]
    columns += results
    for name, times in Counter(name for name, _ in columns).items():
        if times > 1:
            raise ConfigError(
                f"column names must be unique, got two columns {name!r}; rename the field of topic "
                f"{pipeline.events.topic!r}"
            )
    return pa.schema(columns)


def score_type(pipeline: Pipeline) -> pa.DataType:
    """Return the column type of the pipeline's scores."""
    return _SCORES.get(pipeline.task, pa.float64())


def field_type(field: Field) -> pa.DataType:
    """Return the column type of a declared field."""
    if isinstance(field, Key):
        return KEY_TYPES["integer" if field.kind == "integer" else "text"]
    return next((dtype for kind, dtype in _FIELD_TYPES if isinstance(field, kind)), _TIME)


def score_cell(score: Score) -> Any:
    """Return the score as Arrow accepts it: a map as its items."""
    return [(name, float(value)) for name, value in score.items()] if isinstance(score, Mapping) else score


def array_of(values: Iterable[Any], dtype: pa.DataType) -> pa.Array:
    """Return the values as a column; event times become ms."""
    if dtype == _TIME:
        values = [None if value is None else milliseconds(value) for value in values]
    return column(values, dtype)
