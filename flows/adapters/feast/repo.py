"""The Feast repository: apply its declarations, and compile a feature service to a feature plan.

Everything goes through Feast's own API and registry, so what the engine runs is what a Feast client sees.
"""

import re
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import flows.adapters.feast.quick_feast  # noqa: F401  first

# isort: split
from feast import (
    FeatureStore,
    FeatureView,
    KafkaSource,
    OnDemandFeatureView,
    StreamFeatureView,
    repo_operations,
)
from feast.aggregation import Aggregation
from feast.errors import FeatureServiceNotFoundException
from feast.feature_view import DUMMY_ENTITY_ID
from feast.feature_view_projection import FeatureViewProjection
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.registry.file import FileRegistryStore
from feast.repo_config import RegistryConfig
from feast.types import Bool, Float64, Int64, String, UnixTimestamp
from redis import RedisError

from flows.adapters.feast import column_names
from flows.core import arguments
from flows.core.features.plan import (
    ANY_COLUMN,
    COUNTS,
    FUNCTIONS,
    Aggregate,
    Dtype,
    FeaturePlan,
    Input,
    Kind,
    Lookup,
    Output,
    Transform,
    View,
    quantile,
)
from flows.core.stream.fields import KeyKind
from flows.errors import ConfigError, DriftlineError, StoreError
from flows.host.functions import reference, source_hash

EXCLUDE_OWN = "driftline.exclude_own"
DELAY = "driftline.delay"
PARTS = "/**/*.parquet"
_MILLISECOND = timedelta(milliseconds=1)
_DEFAULT_HOP = timedelta(minutes=5)  # Feast's own, where tiling is on and no hop size is given
_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}  # in milliseconds
_IMPORTABLE = (
    "give OnDemandFeatureView the udf= of a module that the flows can import, outside of the feature "
    "repository, and no udf_string"
)
_WITHOUT_COLUMN = ("count", "time_since_last")
_DTYPES: dict[Any, Dtype] = {Int64: "int", Float64: "float", String: "string"}
_KINDS: dict[Any, Kind] = {
    String: "string",
    Int64: "number",
    Float64: "number",
    Bool: "flag",
    UnixTimestamp: "time",
}
_KEY_KINDS: dict[Any, KeyKind] = {String: "text", Int64: "integer"}

for _remark in ("Stream feature views are experimental", "On demand feature view is an experimental"):
    warnings.filterwarnings("ignore", _remark)  # each time one is read


class WholeFileRegistryStore(FileRegistryStore):  # type: ignore[misc]  # Feast is untyped
    """Feast's registry in a file, which is replaced as a whole.

    Feast's own empties the file first, and on a disk that gets full leaves a part there and says nothing.
    """

    def __init__(self, registry_config: RegistryConfig, repo_path: Path) -> None:
        super().__init__(registry_config, repo_path)
        self._file = repo_path / registry_config.path

    def update_registry_proto(self, registry_proto: Any) -> None:
        registry_proto.version_id = str(uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        unfinished = self._file.with_name(f"{self._file.name}.tmp")
        try:
            unfinished.write_bytes(registry_proto.SerializeToString())
            unfinished.replace(self._file)
        finally:
            unfinished.unlink(missing_ok=True)


def open_store(repo: Path, yaml: str) -> FeatureStore:
    """The feature store that the file `yaml` in `repo` describes; opening connects to nothing.

    Raises `ConfigError` when the file is missing or wrong, or names an environment variable that is unset.
    """
    path = repo.resolve() / yaml
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist; name the Feast repository and its YAML file in the settings"
        )
    try:
        store = FeatureStore(repo_path=str(path.parent), fs_yaml_file=path)
        address = getattr(store.config.online_store, "connection_string", "")
    except Exception as error:
        raise ConfigError(f"{yaml}: {_line(error)}") from error
    if "$" in address.partition(",")[0]:
        raise ConfigError(
            f"{yaml} needs the environment variable {address.strip('${}')}; set it to host:port"
        )
    return store


def apply(repo: Path, yaml: str) -> None:
    """Do what `feast apply` does: register what the repository declares and make the stores' tables.

    Raises `ConfigError` for a declaration that Python or Feast refuses, `StoreError` for a store that is
    away. What was registered before stays then.
    """
    store = open_store(repo, yaml)
    with _declared(repo.resolve(), store) as contents:
        try:
            _prepare_files(store)
            _write_registry_whole(store)
            for view in contents.on_demand_feature_views:
                _refer(view)
            new, old, _, _ = repo_operations.extract_objects_for_apply_delete(
                store.project, store.registry, contents
            )
            store.apply(new, objects_to_delete=old, partial=False)
        except Exception as error:
            raise _explained(error, "feast apply") from error


def compile_plan(repo: Path, yaml: str, service: str, lateness: int) -> FeaturePlan:
    """The plan of an applied feature service, its views and features in the service's order.

    `lateness` is the pipeline's, in milliseconds.

    Raises `ConfigError`, naming the view and the aggregation, for what the engine cannot run, and
    `StoreError` when the repository has not been applied.
    """
    store = open_store(repo, yaml)
    try:
        projections = store.get_feature_service(service).feature_view_projections
    except FeatureServiceNotFoundException:
        known = ", ".join(s.name for s in store.list_feature_services()) or "none"
        raise ConfigError(
            f"feature service {service!r} is not in the Feast registry (there: {known}); "
            "correct the pipeline's service or declare it, then run `driftline apply`"
        ) from None
    except FileNotFoundError as error:
        raise StoreError("the Feast registry does not exist; run `driftline apply`") from error
    except Exception as error:
        raise _explained(error, "reading the registry") from error
    pairs = [(_registered(store, projection), projection) for projection in projections]
    lookups = tuple(_lookup(v, projection) for v, projection in pairs if _is_batch(v))
    views = tuple(
        _view(v, projection)
        for v, projection in pairs
        if not _is_batch(v) and not isinstance(v, OnDemandFeatureView)
    )
    transforms = tuple(
        _transform(v, projection, views, lookups)
        for v, projection in pairs
        if isinstance(v, OnDemandFeatureView)
    )
    return FeaturePlan(service, views, transforms, lateness, lookups)


def offline_folders(store: FeatureStore, plan: FeaturePlan) -> dict[str, Path]:
    """For each view of the plan the folder that its batch source reads its parquet parts from."""
    return {
        view.name: Path(store.get_stream_feature_view(view.name).batch_source.path.removesuffix(PARTS))
        for view in plan.views
    }


def _registered(store: FeatureStore, projection: FeatureViewProjection) -> Any:
    try:
        return store.registry.get_any_feature_view(projection.name, store.project)
    except Exception as error:  # the registry loads a transform's function, which is the user's code
        raise ConfigError(
            f"view {projection.name!r} cannot be read ({_line(error)}); {_IMPORTABLE}"
        ) from error


def _refuse(what: str, faults: Iterator[tuple[bool, str]]) -> None:
    """Raise `ConfigError` with the advice of the first fault."""
    for wrong, advice in faults:
        if wrong:
            raise ConfigError(f"{what}: {advice}")


def _view(view: Any, projection: FeatureViewProjection) -> View:
    _refuse(f"view {projection.name!r}", _view_faults(view, projection))
    for aggregation in view.aggregations:
        what = f"view {projection.name!r}, aggregation {_name(aggregation)!r}"
        _refuse(what, _aggregation_faults(aggregation, view))
    wanted = {feature.name for feature in projection.features}
    source = view.stream_source
    return View(
        name=view.name,
        entity=view.join_keys[0],
        stream=source.kafka_options.topic if isinstance(source, KafkaSource) else source.name,
        aggregates=tuple(_aggregate(a, view) for a in view.aggregations if _name(a) in wanted),
        excludes_own=view.tags.get(EXCLUDE_OWN) == "true",
        delay=_view_delay(view) // _MILLISECOND,
        slide=_slide(view) // _MILLISECOND,
        key=_KEY_KINDS[view.entity_columns[0].dtype],
    )


def _view_faults(view: Any, projection: FeatureViewProjection) -> Iterator[tuple[bool, str]]:
    """What the engine cannot run, each beside what to write instead; later ones rely on earlier ones."""
    yield (
        not isinstance(view, StreamFeatureView),
        "is of a kind that the engine does not know; declare it as a StreamFeatureView or a FeatureView",
    )
    yield bool(view.udf), "has a udf; aggregate the stream's own fields, and compute others before publishing"
    yield not view.aggregations, "has no aggregations; give at least one Aggregation"
    yield (
        len({_slide_of(a, view) for a in view.aggregations}) > 1,
        "has several slide intervals; declare one view for each",
    )
    yield (
        bool(_slide(view)) and view.tags.get(EXCLUDE_OWN) == "true",
        f"cannot leave records out of tiles; leave the slide interval or the tag {EXCLUDE_OWN} out",
    )
    yield (
        _delay(view.tags.get(DELAY, "0s")) is None,
        f"the tag {DELAY} must be a whole number and a unit, such as '7d', '12h', '30m' or '45s'",
    )
    yield (
        len(view.join_keys) != 1,
        f"has the join keys {view.join_keys}; give it one entity with one join key",
    )
    yield (
        view.entity_columns[0].dtype not in _KEY_KINDS,
        f"its join key is {view.entity_columns[0].dtype}; use ValueType.STRING or ValueType.INT64",
    )
    yield from column_names.faults(view.name, view.join_keys, [feature.name for feature in view.features])
    yield _is_changed(projection), "is renamed or pinned in the service; list it there as it was declared"
    yield (
        view.tags.get(EXCLUDE_OWN, "false") not in ("true", "false"),
        f"the tag {EXCLUDE_OWN} must be 'true' or 'false'",
    )
    batch = view.batch_source
    yield (
        not (isinstance(batch, FileSource) and Path(batch.path).is_absolute() and batch.path.endswith(PARTS)),
        f"its batch source must be a FileSource with an absolute path that ends in {PARTS}",
    )
    yield (
        (batch.timestamp_field, batch.created_timestamp_column) != ("event_timestamp", "created"),
        "its batch source needs timestamp_field='event_timestamp', created_timestamp_column='created'",
    )
    names = [_name(a) for a in view.aggregations]
    yield len(set(names)) < len(names), "two aggregations have the same name; give each its own"
    # A stream feature view that comes from the registry has its join key among its features.
    declared, computed = {f.name for f in view.features} - set(view.join_keys), set(names)
    yield (
        declared != computed,
        f"schema and aggregations differ in {sorted(declared ^ computed)}; name the same features in both",
    )

    reach = max((a.time_window or _MILLISECOND) for a in view.aggregations) + _view_delay(view)
    yield (
        bool(view.ttl) and view.ttl < reach,
        f"its ttl of {view.ttl} would cut off its longest window and delay; make it at least {reach}",
    )


def _is_batch(view: Any) -> bool:
    return isinstance(view, FeatureView) and not isinstance(view, StreamFeatureView)


def _lookup(view: FeatureView, projection: FeatureViewProjection) -> Lookup:
    _refuse(f"batch view {projection.name!r}", _lookup_faults(view, projection))
    kinds = {column.name: _KINDS[column.dtype] for column in view.entity_columns}
    return Lookup(
        name=view.name,
        keys=tuple(Input(key, kinds[key]) for key in sorted(kinds)),
        features=tuple(Output(f.name, _DTYPES[f.dtype]) for f in _wanted(view, projection)),
        freshness=view.ttl // _MILLISECOND,
    )


def _lookup_faults(view: FeatureView, projection: FeatureViewProjection) -> Iterator[tuple[bool, str]]:
    yield (
        not view.ttl,
        "has no ttl; give one, such as timedelta(hours=2): a value of the table that is older is not used",
    )
    yield view.ttl % _MILLISECOND != timedelta(0), "its ttl must be a whole number of milliseconds"
    yield not view.online, "is not online, where it is read from; leave online=False out"
    yield _is_changed(projection), "is renamed or pinned in the service; list it there as it was declared"
    yield (
        view.join_keys == [DUMMY_ENTITY_ID],
        "has no entity; give it one, whose join key is a field of the event",
    )
    yield from column_names.faults(view.name, view.join_keys, [feature.name for feature in view.features])
    for column in view.entity_columns:
        yield (
            column.dtype not in _KEY_KINDS,
            f"join key {column.name!r} is {column.dtype}; make it String or Int64",
        )
    for feature in _wanted(view, projection):
        known = ", ".join(map(str, _DTYPES))
        yield feature.dtype not in _DTYPES, f"{feature.name!r} is {feature.dtype}; make it one of {known}"


def _wanted(view: FeatureView, projection: FeatureViewProjection) -> list[Any]:
    """The view's features that the service lists, without the join keys."""
    names = {feature.name for feature in projection.features} - set(view.join_keys)
    return [feature for feature in view.features if feature.name in names]


def _is_changed(projection: FeatureViewProjection) -> bool:
    return bool(projection.name_alias or projection.join_key_map or projection.version_tag)


def _transform(
    view: OnDemandFeatureView,
    projection: FeatureViewProjection,
    views: tuple[View, ...],
    lookups: tuple[Lookup, ...],
) -> Transform:
    computed = {f"{v.name}__{a.name}" for v in views for a in v.aggregates}
    computed |= {f"{lookup.name}__{f.name}" for lookup in lookups for f in lookup.features}
    _refuse(f"on-demand view {projection.name!r}", _transform_faults(view, projection, computed))
    wanted = {feature.name for feature in projection.features}
    function = view.feature_transformation.udf
    return Transform(
        name=view.name,
        function=reference(function),
        code=source_hash(function),
        fields=tuple(Input(field.name, _KINDS[field.dtype]) for field in _request_fields(view)),
        views=tuple(source.name for source in view.source_feature_view_projections.values()),
        outputs=tuple(Output(f.name, _DTYPES[f.dtype]) for f in view.features if f.name in wanted),
    )


def _refer(view: OnDemandFeatureView) -> None:
    """Let the registry hold the import of the view's function where it can be imported.

    Feast makes the function anew from the registered text, where nothing else of its module is known: it
    could use no import and no constant. The text of an import gives the function itself.
    """
    module, _, name = reference(view.udf).partition(":")
    if name and not view.udf_string:
        view.feature_transformation.udf_string = view.udf_string = f"from {module} import {name}"


def _transform_faults(
    view: OnDemandFeatureView, projection: FeatureViewProjection, computed: set[str]
) -> Iterator[tuple[bool, str]]:
    yield view.mode != "python", f"is in mode {view.mode!r}; write it in mode='python', over dicts of lists"
    yield view.singleton, "is a singleton; take and give lists, and leave singleton out"
    yield bool(view.aggregations), "has aggregations; declare them in a StreamFeatureView"
    yield (
        view.write_to_online_store,
        "writes to the online store; leave that out: it is computed whenever it is asked",
    )
    yield _is_changed(projection), "is renamed or pinned in the service; list it there as it was declared"
    yield (
        reference(view.feature_transformation.udf) == "",
        "its function cannot be imported; " + _IMPORTABLE,
    )
    fault = arguments.name(view.name)
    yield fault is not None, f"its name {fault}"
    for field in _request_fields(view):
        yield (
            field.name.lower() in column_names.RESERVED,
            f"{field.name!r} is the name of a column that Feast's joins make; rename the field",
        )
    for source in view.source_feature_view_projections.values():
        missing = sorted({f"{source.name}__{f.name}" for f in source.features} - computed)
        yield bool(missing), f"reads {', '.join(missing)}, which is not in the service; list it there"
    for field in _request_fields(view):
        known = ", ".join(map(str, _KINDS))
        yield field.dtype not in _KINDS, f"field {field.name!r} is {field.dtype}; make it one of {known}"
    for feature in view.features:
        known = ", ".join(map(str, _DTYPES))
        yield feature.dtype not in _DTYPES, f"{feature.name!r} is {feature.dtype}; make it one of {known}"


def _request_fields(view: OnDemandFeatureView) -> list[Any]:
    return [field for source in view.source_request_sources.values() for field in source.schema]


def _aggregation_faults(aggregation: Aggregation, view: StreamFeatureView) -> Iterator[tuple[bool, str]]:
    function, window = aggregation.function, aggregation.time_window
    yield (
        function not in FUNCTIONS and quantile(function) is None,
        f"function {function!r} is not supported; use one of {', '.join(FUNCTIONS)} or p95",
    )
    yield (
        not aggregation.column and function not in _WITHOUT_COLUMN,
        "has no column; name the field that it reads",
    )
    yield not window, "has no time_window; give one, such as timedelta(hours=1)"
    yield window % _MILLISECOND != timedelta(0), "its time_window must be a whole number of milliseconds"
    slide = _slide_of(aggregation, view)
    yield slide % _MILLISECOND != timedelta(0), "its slide must be a whole number of milliseconds"
    yield (
        bool(slide) and window % slide != timedelta(0),
        f"its time_window is no multiple of the slide of {slide}; make it one",
    )
    yield from _dtype_faults(function, next(f.dtype for f in view.features if f.name == _name(aggregation)))


def _dtype_faults(function: str, declared: Any) -> Iterator[tuple[bool, str]]:
    expected = [Int64] if function in COUNTS else [Float64]
    if function in ANY_COLUMN and function not in COUNTS:
        expected.append(String)
    yield (
        declared not in expected,
        f"is declared as {declared} in the schema; make it {' or '.join(map(str, expected))}",
    )


def _aggregate(aggregation: Aggregation, view: StreamFeatureView) -> Aggregate:
    """One feature; a count reads no column, so naming one does not change the plan."""
    declared = next(f.dtype for f in view.features if f.name == _name(aggregation))
    return Aggregate(
        name=_name(aggregation),
        function=aggregation.function,
        column="" if aggregation.function in _WITHOUT_COLUMN else aggregation.column,
        window=aggregation.time_window // _MILLISECOND,
        dtype=_DTYPES[declared],
    )


def _slide_of(aggregation: Aggregation, view: StreamFeatureView) -> timedelta:
    """How far the window moves at a time; 0 is exact. Feast puts the window where no slide was arguments."""
    if view.enable_tiling:
        return view.tiling_hop_size or _DEFAULT_HOP
    slide = aggregation.slide_interval
    return timedelta(0) if slide is None or slide == aggregation.time_window else slide


def _slide(view: StreamFeatureView) -> timedelta:
    return _slide_of(view.aggregations[0], view)


def _delay(text: str) -> int | None:
    """A delay in milliseconds, None where the tag does not give one.

    >>> _delay("7d"), _delay("45s"), _delay("soon")
    (604800000, 45000, None)
    """
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    return int(match[1]) * _UNITS[match[2]] if match else None


def _view_delay(view: StreamFeatureView) -> timedelta:
    return _MILLISECOND * (_delay(view.tags.get(DELAY, "0s")) or 0)


def _name(aggregation: Aggregation) -> str:
    return str(aggregation.resolved_name(aggregation.time_window))


def _prepare_files(store: FeatureStore) -> None:
    """Make the folders of Feast's files, since it makes only the last level, and the SQLite file.

    In WAL mode, which SQLite keeps with the file, clients read while the engine writes.
    """
    registry, online = store.config.registry.path, getattr(store.config.online_store, "path", "")
    for path in (registry, online):
        if path and "://" not in path:
            (store.repo_path / path).parent.mkdir(parents=True, exist_ok=True)
    if online and store.config.online_store.type == "sqlite":
        with closing(sqlite3.connect(store.repo_path / online)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _write_registry_whole(store: FeatureStore) -> None:
    """Let the store, which has not opened its registry yet, use the class above where that is a file."""
    registry = store.config.registry
    if registry.registry_type == "file" and not registry.registry_store_type and "://" not in registry.path:
        registry.registry_store_type = f"{__name__}.{WholeFileRegistryStore.__name__}"


@contextmanager
def _declared(repo: Path, store: FeatureStore) -> Iterator[Any]:
    """What the repository's Python files declare.

    Feast imports them by their path from the working directory; afterwards they are forgotten again, so
    that another repository's files of the same names can be read.
    """
    wrote_bytecode = sys.dont_write_bytecode  # Feast switches it off
    before = set(sys.modules)
    sys.path.insert(0, str(repo))
    try:
        with chdir(repo):
            yield _contents(repo, store)
    finally:
        sys.dont_write_bytecode = wrote_bytecode
        sys.path.remove(str(repo))
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(repo)):
                del sys.modules[name]


def _contents(repo: Path, store: FeatureStore) -> Any:
    remarks = StringIO()
    try:
        with redirect_stdout(remarks):
            return repo_operations._get_repo_contents(repo, store.project, store.config)
    except SystemExit:  # Feast prints the reason and exits
        raise ConfigError(f"{repo.name}: {remarks.getvalue().strip()}") from None
    except Exception as error:
        raise ConfigError(f"the declarations in {repo.name} are wrong: {_line(error)}") from error


def _explained(error: Exception, doing: str) -> DriftlineError:
    """The error of Feast or a store as one line; a refused declaration is the user's to correct."""
    if isinstance(error, OSError | sqlite3.Error | RedisError):
        return StoreError(f"{doing}: {_line(error)}; check that the store runs and that its disk has room")
    return ConfigError(f"{doing}: {_line(error)}; correct the declarations and apply again")


def _line(error: BaseException) -> str:
    """The error's kind and the first line of its text."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
