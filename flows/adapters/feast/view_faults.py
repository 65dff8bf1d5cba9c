"""Checks of batch views and on-demand views: what the engine cannot run, with advice.

The functions yield the faults lazily, and later checks rely on earlier ones, so only the first is valid.
"""

from collections.abc import Iterator

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import FeatureView, OnDemandFeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.feature_view_projection import FeatureViewProjection

from flows.adapters.feast import column_names
from flows.adapters.feast.declarations import (
    DTYPES,
    IMPORTABLE,
    KEY_KINDS,
    KINDS,
    MILLISECOND,
    is_changed,
    request_fields,
    selected,
)
from flows.core import arguments
from flows.host.functions import reference


def batch_view_faults(view: FeatureView, projection: FeatureViewProjection) -> Iterator[str]:
    """Yield the faults of a batch view."""
    if not view.ttl:
        yield "has no ttl; give one, such as timedelta(hours=2): older values of the table are not used"
    if view.ttl % MILLISECOND:
        yield "its ttl must be a whole number of milliseconds"
    if not view.online:
        yield "is not online, where it is read from; leave online=False out"
    if is_changed(projection):
        yield "is renamed or pinned in the service; list it there as it was declared"
    if view.join_keys == [DUMMY_ENTITY_ID]:
        yield "has no entity; give it one, whose join key is a field of the event"
    yield from column_names.faults(view.name, view.join_keys, [feature.name for feature in view.features])
    for column in view.entity_columns:
        if column.dtype not in KEY_KINDS:
            yield f"join key {column.name!r} is {column.dtype}; make it String or Int64"
    for feature in selected(view, projection):
        if feature.dtype not in DTYPES:
            yield f"{feature.name!r} is {feature.dtype}; make it one of {', '.join(map(str, DTYPES))}"


def on_demand_view_faults(
    view: OnDemandFeatureView, projection: FeatureViewProjection, computed: set[str]
) -> Iterator[str]:
    """Yield the faults of an on-demand view; `computed` are the service's features of other views."""
    if view.mode != "python":
        yield f"is in mode {view.mode!r}; write it in mode='python', over dicts of lists"
    if view.singleton:
        yield "is a singleton; take and give lists, and leave singleton out"
    if view.aggregations:
        yield "has aggregations; declare them in a StreamFeatureView"
    if view.write_to_online_store:
        yield "writes to the online store; leave that out: it is computed on each request"
    if is_changed(projection):
        yield "is renamed or pinned in the service; list it there as it was declared"
    if not reference(view.feature_transformation.udf):
        yield f"its function cannot be imported; {IMPORTABLE}"
    fault = arguments.name(view.name)
    if fault is not None:
        yield f"its name {fault}"
    yield from _field_faults(view, computed)


def _field_faults(view: OnDemandFeatureView, computed: set[str]) -> Iterator[str]:
    for field in request_fields(view):
        if field.name.lower() in column_names.RESERVED:
            yield f"{field.name!r} is the name of a column that Feast's joins make; rename the field"
    for source in view.source_feature_view_projections.values():
        missing = sorted({f"{source.name}__{f.name}" for f in source.features} - computed)
        if missing:
            yield f"reads {', '.join(missing)}, which is not in the service; list it there"
    for field in request_fields(view):
        if field.dtype not in KINDS:
            yield f"field {field.name!r} is {field.dtype}; make it one of {', '.join(map(str, KINDS))}"
    for feature in view.features:
        if feature.dtype not in DTYPES:
            yield f"{feature.name!r} is {feature.dtype}; make it one of {', '.join(map(str, DTYPES))}"
