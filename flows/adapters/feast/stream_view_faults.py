"""Checks of stream feature views: what the engine cannot run, with advice.

The functions yield the faults lazily, and later checks rely on earlier ones, so only the first is valid.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import StreamFeatureView
from feast.aggregation import Aggregation
from feast.feature_view_projection import FeatureViewProjection
from feast.infra.offline_stores.file_source import FileSource
from feast.types import Float64, Int64, String

from flows.adapters.feast import column_names
from flows.adapters.feast.declarations import (
    DELAY,
    EXCLUDE_OWN,
    KEY_KINDS,
    MILLISECOND,
    PARTS,
    WITHOUT_COLUMN,
    aggregation_slide,
    feature_name,
    is_changed,
    parse_delay,
    view_delay,
    view_slide,
)
from flows.core.features.plan import ANY_COLUMN, COUNTS, FUNCTIONS, quantile


def stream_view_faults(view: Any, projection: FeatureViewProjection) -> Iterator[str]:
    """Yield the faults of a view that is neither a batch view nor an on-demand view."""
    if not isinstance(view, StreamFeatureView):
        yield "must be a StreamFeatureView or a FeatureView; declare it as one"
    yield from _computation_faults(view)
    yield from _tag_faults(view)
    yield from _key_faults(view)
    yield from column_names.faults(view.name, view.join_keys, [feature.name for feature in view.features])
    if is_changed(projection):
        yield "is renamed or pinned in the service; list it there as it was declared"
    yield from _source_faults(view)
    yield from _schema_faults(view)


def aggregation_faults(aggregation: Aggregation, view: StreamFeatureView) -> Iterator[str]:
    """Yield the faults of one aggregation of a view without faults."""
    function, window = aggregation.function, aggregation.time_window
    if function not in FUNCTIONS and quantile(function) is None:
        yield f"function {function!r} is not supported; use one of {', '.join(FUNCTIONS)} or p95"
    if not aggregation.column and function not in WITHOUT_COLUMN:
        yield "has no column; name the field that it reads"
    if not window:
        yield "has no time_window; give one, such as timedelta(hours=1)"
    if window % MILLISECOND:
        yield "its time_window must be a whole number of milliseconds"
    slide = aggregation_slide(aggregation, view)
    if slide % MILLISECOND:
        yield "its slide must be a whole number of milliseconds"
    if slide and window % slide:
        yield f"its time_window is no multiple of the slide of {slide}; make it one"
    name = feature_name(aggregation)
    yield from _dtype_faults(function, next(f.dtype for f in view.features if f.name == name))


def _computation_faults(view: StreamFeatureView) -> Iterator[str]:
    if view.udf:
        yield "has a udf; aggregate the stream's own fields, and compute others before publishing"
    if not view.aggregations:
        yield "has no aggregations; give at least one Aggregation"
    if len({aggregation_slide(a, view) for a in view.aggregations}) > 1:
        yield "has several slide intervals; declare one view for each"


def _tag_faults(view: StreamFeatureView) -> Iterator[str]:
    exclude_own = view.tags.get(EXCLUDE_OWN, "false")
    if exclude_own not in ("true", "false"):
        yield f"the tag {EXCLUDE_OWN} must be 'true' or 'false', got {exclude_own!r}"
    if view_slide(view) and exclude_own == "true":
        yield f"cannot leave records out of tiles; leave the slide interval or the tag {EXCLUDE_OWN} out"
    delay = view.tags.get(DELAY, "0s")
    if parse_delay(delay) is None:
        yield (
            f"the tag {DELAY} must be a whole number and a unit, such as '7d', '12h', '30m' or '45s', "
            f"got {delay!r}"
        )


def _key_faults(view: StreamFeatureView) -> Iterator[str]:
    if len(view.join_keys) != 1:
        yield f"has the join keys {view.join_keys}; give it one entity with one join key"
    dtype = view.entity_columns[0].dtype
    if dtype not in KEY_KINDS:
        yield f"its join key is {dtype}; use ValueType.STRING or ValueType.INT64"


def _source_faults(view: StreamFeatureView) -> Iterator[str]:
    batch = view.batch_source
    is_file = isinstance(batch, FileSource) and Path(batch.path).is_absolute() and batch.path.endswith(PARTS)
    if not is_file:
        yield f"its batch source must be a FileSource with an absolute path that ends in {PARTS}"
    if (batch.timestamp_field, batch.created_timestamp_column) != ("event_timestamp", "created"):
        yield "its batch source needs timestamp_field='event_timestamp', created_timestamp_column='created'"


def _schema_faults(view: StreamFeatureView) -> Iterator[str]:
    names = [feature_name(a) for a in view.aggregations]
    if len(set(names)) < len(names):
        yield "two aggregations have the same name; give each its own"
    # a stream feature view from the registry has its join key among its features
    different = ({f.name for f in view.features} - set(view.join_keys)) ^ set(names)
    if different:
        yield f"schema and aggregations differ in {sorted(different)}; name the same features in both"
    reach = max((a.time_window or MILLISECOND) for a in view.aggregations) + view_delay(view)
    if view.ttl and view.ttl < reach:
        yield f"its ttl of {view.ttl} would cut off its longest window and delay; make it at least {reach}"


def _dtype_faults(function: str, declared: Any) -> Iterator[str]:
    expected = [Int64] if function in COUNTS else [Float64]
    if function in ANY_COLUMN and function not in COUNTS:
        expected.append(String)
    if declared not in expected:
        yield f"is declared as {declared} in the schema; make it {' or '.join(map(str, expected))}"
