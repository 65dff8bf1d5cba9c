"""Compiles an applied feature service to a feature plan."""

from pathlib import Path
from typing import Any

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import FeatureStore, FeatureView, KafkaSource, OnDemandFeatureView, StreamFeatureView
from feast.aggregation import Aggregation
from feast.errors import FeatureServiceNotFoundException
from feast.feature_view_projection import FeatureViewProjection

from flows.adapters.feast.declarations import (
    DTYPES,
    EXCLUDE_OWN,
    IMPORTABLE,
    KEY_KINDS,
    KINDS,
    MILLISECOND,
    WITHOUT_COLUMN,
    feature_name,
    is_batch,
    request_fields,
    selected,
    view_delay,
    view_slide,
)
from flows.adapters.feast.errors import explained, line, refuse
from flows.adapters.feast.repo import open_store
from flows.adapters.feast.stream_view_faults import aggregation_faults, stream_view_faults
from flows.adapters.feast.view_faults import batch_view_faults, on_demand_view_faults
from flows.core.features.plan import Aggregate, FeaturePlan, Input, Lookup, Output, Transform, View
from flows.errors import ConfigError, StoreError
from flows.host.functions import reference, source_hash


def compile_plan(repo: Path, yaml: str, service: str, lateness: int) -> FeaturePlan:
    """Return the plan of an applied feature service, with views and features in the service's order.

    `repo` and `yaml` are those of `open_store`; `lateness` is the pipeline's, in milliseconds. Raises
    `ConfigError`, naming the view and the aggregation, for a declaration that the engine cannot run, and
    `StoreError` if the repository has not been applied.
    """
    store = open_store(repo, yaml)
    projections = _projections(store, service)
    pairs = [(_registered(store, projection), projection) for projection in projections]
    lookups = tuple(_lookup(v, projection) for v, projection in pairs if is_batch(v))
    views = tuple(
        _view(v, projection)
        for v, projection in pairs
        if not is_batch(v) and not isinstance(v, OnDemandFeatureView)
    )
    computed = {f"{v.name}__{a.name}" for v in views for a in v.aggregates}
    computed |= {f"{lookup.name}__{f.name}" for lookup in lookups for f in lookup.features}
    transforms = tuple(
        _transform(v, projection, computed) for v, projection in pairs if isinstance(v, OnDemandFeatureView)
    )
    return FeaturePlan(service, views, transforms, lateness, lookups)


def _projections(store: FeatureStore, service: str) -> list[FeatureViewProjection]:
    try:
        found: list[FeatureViewProjection] = store.get_feature_service(service).feature_view_projections
    except FeatureServiceNotFoundException:
        known = ", ".join(s.name for s in store.list_feature_services()) or "none"
        raise ConfigError(
            f"feature service {service!r} is not in the Feast registry (there: {known}); "
            "correct the pipeline's service or declare it, then run `driftline apply`"
        ) from None
    except FileNotFoundError as error:
        raise StoreError("the Feast registry does not exist; run `driftline apply`") from error
    except Exception as error:
        raise explained(error, "reading the registry") from error
    return found


def _registered(store: FeatureStore, projection: FeatureViewProjection) -> Any:
    try:
        return store.registry.get_any_feature_view(projection.name, store.project)
    except Exception as error:  # the registry imports a transform's function, which is the user's code
        raise ConfigError(f"view {projection.name!r} cannot be read ({line(error)}); {IMPORTABLE}") from error


def _view(view: Any, projection: FeatureViewProjection) -> View:
    refuse(f"view {projection.name!r}", stream_view_faults(view, projection))
    for aggregation in view.aggregations:
        what = f"view {projection.name!r}, aggregation {feature_name(aggregation)!r}"
        refuse(what, aggregation_faults(aggregation, view))
    names = {feature.name for feature in projection.features}
    source = view.stream_source
    return View(
        name=view.name,
        entity=view.join_keys[0],
        stream=source.kafka_options.topic if isinstance(source, KafkaSource) else source.name,
        aggregates=tuple(_aggregate(a, view) for a in view.aggregations if feature_name(a) in names),
        excludes_own=view.tags.get(EXCLUDE_OWN) == "true",
        delay=view_delay(view) // MILLISECOND,
        slide=view_slide(view) // MILLISECOND,
        key=KEY_KINDS[view.entity_columns[0].dtype],
    )


def _aggregate(aggregation: Aggregation, view: StreamFeatureView) -> Aggregate:
    """Return one feature; the column of a count is dropped, so that naming one does not change the plan."""
    name = feature_name(aggregation)
    declared = next(f.dtype for f in view.features if f.name == name)
    return Aggregate(
        name=name,
        function=aggregation.function,
        column="" if aggregation.function in WITHOUT_COLUMN else aggregation.column,
        window=aggregation.time_window // MILLISECOND,
        dtype=DTYPES[declared],
    )


def _lookup(view: FeatureView, projection: FeatureViewProjection) -> Lookup:
    refuse(f"batch view {projection.name!r}", batch_view_faults(view, projection))
    kinds = {column.name: KINDS[column.dtype] for column in view.entity_columns}
    return Lookup(
        name=view.name,
        keys=tuple(Input(key, kinds[key]) for key in sorted(kinds)),
        features=tuple(Output(f.name, DTYPES[f.dtype]) for f in selected(view, projection)),
        freshness=view.ttl // MILLISECOND,
    )


def _transform(view: OnDemandFeatureView, projection: FeatureViewProjection, computed: set[str]) -> Transform:
    refuse(f"on-demand view {projection.name!r}", on_demand_view_faults(view, projection, computed))
    names = {feature.name for feature in projection.features}
    function = view.feature_transformation.udf
    return Transform(
        name=view.name,
        function=reference(function),
        code=source_hash(function),
        fields=tuple(Input(field.name, KINDS[field.dtype]) for field in request_fields(view)),
        views=tuple(source.name for source in view.source_feature_view_projections.values()),
        outputs=tuple(Output(f.name, DTYPES[f.dtype]) for f in view.features if f.name in names),
    )
