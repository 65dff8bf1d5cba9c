"""Accessors for Feast's declarations: types, keys, windows, tags and sources."""

import re
import warnings
from datetime import timedelta
from typing import Any

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import FeatureView, OnDemandFeatureView, StreamFeatureView
from feast.aggregation import Aggregation
from feast.feature_view_projection import FeatureViewProjection
from feast.types import Bool, Float64, Int64, String, UnixTimestamp

from flows.core.features.plan import Dtype, Kind
from flows.core.stream.fields import KeyKind

EXCLUDE_OWN = "driftline.exclude_own"
DELAY = "driftline.delay"
PARTS = "/**/*.parquet"
MILLISECOND = timedelta(milliseconds=1)
DTYPES: dict[Any, Dtype] = {Int64: "int", Float64: "float", String: "string"}
KINDS: dict[Any, Kind] = {
    String: "string",
    Int64: "number",
    Float64: "number",
    Bool: "flag",
    UnixTimestamp: "time",
}
KEY_KINDS: dict[Any, KeyKind] = {String: "text", Int64: "integer"}
WITHOUT_COLUMN = ("count", "time_since_last")
IMPORTABLE = (
    "give OnDemandFeatureView the udf= of a module that the flows can import, outside of the feature "
    "repository, and no udf_string"
)
_DEFAULT_HOP = timedelta(minutes=5)  # Feast's default for a tiled view without a hop size
_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}  # milliseconds

for _remark in ("Stream feature views are experimental", "On demand feature view is an experimental"):
    warnings.filterwarnings("ignore", _remark)  # Feast warns each time one is read


def is_batch(view: Any) -> bool:
    """Return whether `view` is a plain `FeatureView`, which is read from the online store."""
    return isinstance(view, FeatureView) and not isinstance(view, StreamFeatureView)


def is_changed(projection: FeatureViewProjection) -> bool:
    """Return whether the service renames, remaps or pins the view."""
    return bool(projection.name_alias or projection.join_key_map or projection.version_tag)


def selected(view: FeatureView, projection: FeatureViewProjection) -> list[Any]:
    """Return the view's features that the service selects, without the join keys."""
    names = {feature.name for feature in projection.features} - set(view.join_keys)
    return [feature for feature in view.features if feature.name in names]


def request_fields(view: OnDemandFeatureView) -> list[Any]:
    """Return the fields of the view's request sources."""
    return [field for source in view.source_request_sources.values() for field in source.schema]


def feature_name(aggregation: Aggregation) -> str:
    """Return the name of the feature, given or derived by Feast."""
    return str(aggregation.resolved_name(aggregation.time_window))


def aggregation_slide(aggregation: Aggregation, view: StreamFeatureView) -> timedelta:
    """Return the slide interval, 0 for an exact window.

    Feast sets the slide interval to the window if none was given.
    """
    if view.enable_tiling:
        return view.tiling_hop_size or _DEFAULT_HOP
    slide = aggregation.slide_interval
    return timedelta(0) if slide is None or slide == aggregation.time_window else slide


def view_slide(view: StreamFeatureView) -> timedelta:
    """Return the slide interval of the view, whose aggregations have all the same one."""
    return aggregation_slide(view.aggregations[0], view)


def view_delay(view: StreamFeatureView) -> timedelta:
    """Return the view's delay; 0 without the tag, or if the tag is invalid."""
    return MILLISECOND * (parse_delay(view.tags.get(DELAY, "0s")) or 0)


def parse_delay(text: str) -> int | None:
    """Return a delay in milliseconds, None if `text` is invalid.

    >>> parse_delay("7d"), parse_delay("45s"), parse_delay("soon")
    (604800000, 45000, None)
    """
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    return int(match[1]) * _UNITS[match[2]] if match else None
