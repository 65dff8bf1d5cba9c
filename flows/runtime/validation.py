"""Checks a pipeline's declaration against the feature plan, which is compiled from the Feast repository."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from flows.core.features.plan import Aggregate, FeaturePlan, Input, Kind, View
from flows.core.stream.fields import Field, Flag, Key, KeyKind, Number, Text, Time, resolved, spelled
from flows.errors import ConfigError
from flows.pipeline import Pipeline, Stream


def check_plan(pipeline: Pipeline, plan: FeaturePlan) -> None:
    """Raise `ConfigError` unless the streams have the fields that the plan reads, with the right types."""
    _check_keys(plan)
    streams = {stream.topic: stream for stream in pipeline.feature_streams}
    events = _resolved(pipeline.events, plan)
    _check_key_inputs(pipeline.inputs, events)
    for view in plan.views:
        if view.stream not in streams:
            raise ConfigError(
                f"view {view.name!r} reads topic {view.stream!r}, which is not a source of pipeline "
                f"{pipeline.name!r}; add it to `sources`"
            )
        _check_fields(view, _resolved(streams[view.stream], plan))
    for transform in plan.transforms:
        _check_inputs(f"on-demand view {transform.name!r}", transform.fields, events)
    for lookup in plan.lookups:
        _check_inputs(f"batch view {lookup.name!r}", lookup.keys, events)
    for entity in plan.entities:
        if entity not in pipeline.entities or entity not in pipeline.events.fields:
            raise ConfigError(f"pipeline {pipeline.name!r} must declare the entity field {entity!r}")


def _resolved(stream: Stream, plan: FeaturePlan) -> Stream:
    """Return the stream with the kind that the plan gives to each key."""
    return replace(stream, fields=resolved(stream.fields, plan.key_kinds))


def _check_keys(plan: FeaturePlan) -> None:
    """Raise `ConfigError` if views give one key two types, by which 1 and "1" are different entities."""
    used = [(f"view {v.name!r}", v.entity, v.key) for v in plan.views]
    used += [(f"batch view {one.name!r}", k.name, k.key_kind) for one in plan.lookups for k in one.keys]
    first: dict[str, tuple[str, KeyKind]] = {}
    for view, key, kind in used:
        other, known = first.setdefault(key, (view, kind))
        if kind != known:
            raise ConfigError(
                f"{other} and {view} give the key {key!r} two types, {_FEAST[known]} and {_FEAST[kind]}; "
                "declare its entity once, with one value type"
            )


def _check_key_inputs(inputs: Iterable[str], events: Stream) -> None:
    """Raise `ConfigError` for an input that is a key of unknown kind."""
    for name in inputs:
        if events.fields[name] == Key(events.fields[name].required):
            raise ConfigError(
                f"topic {events.topic!r}: the input {name!r} is the key of no entity in the plan; declare "
                "it as Key(kind='text') or Key(kind='integer')"
            )


def _check_fields(view: View, stream: Stream) -> None:
    """Raise `ConfigError` unless the stream has the view's entity and the columns that it aggregates."""
    field = stream.fields.get(view.entity)
    if field is None:
        raise ConfigError(f"view {view.name!r} needs the field {view.entity!r} of topic {stream.topic!r}")
    if not _holds_key(field, view.key):
        better = "Key()" if view.key == "integer" else "Text() or Key()"
        raise ConfigError(
            f"view {view.name!r}: Feast declares its entity as {_FEAST[view.key]}, so topic {stream.topic!r} "
            f"must declare the field {view.entity!r} as {better}, not {spelled(field)}"
        )
    for aggregate in view.aggregates:
        if aggregate.column:
            _check_column(view, aggregate, stream)


def _holds_key(field: Field, kind: KeyKind) -> bool:
    return field == Key(field.required, kind) or (kind == "text" and isinstance(field, Text))


def _check_column(view: View, aggregate: Aggregate, stream: Stream) -> None:
    """Raise `ConfigError` unless the stream has the column, of a type that the function accepts."""
    field, wanted = stream.fields.get(aggregate.column), _columns_for(aggregate)
    if field is None or not field.required or not any(_is(field, kind) for kind in wanted):
        raise ConfigError(
            f"view {view.name!r} aggregates {aggregate.column!r} of topic {stream.topic!r}, which must be "
            f"declared there as a required {' or '.join(_NAMES[kind] for kind in wanted)}"
        )
    if isinstance(field, Number) and not (Number.low <= field.low and field.high <= Number.high):
        raise ConfigError(
            f"view {view.name!r} aggregates {aggregate.column!r} of topic {stream.topic!r}, whose range must "
            f"be within {Number.low:g} and {Number.high:g}, so that sums and squares are finite"
        )


def _columns_for(aggregate: Aggregate) -> tuple[Kind, ...]:
    if aggregate.dtype == "string":
        return ("string",)
    return ("string", "number", "flag") if aggregate.function == "count_distinct" else ("number", "flag")


def _check_inputs(view: str, fields: Sequence[Input], events: Stream) -> None:
    """Raise `ConfigError` unless the events have the fields that the view reads."""
    for wanted in fields:
        if not _is(events.fields.get(wanted.name), wanted.kind):
            raise ConfigError(
                f"{view} reads the field {wanted.name!r} of topic {events.topic!r}, which must be declared "
                f"there as {_NAMES[wanted.kind]}"
            )


def _is(field: Field | None, kind: Kind) -> bool:
    """Return whether the field has the kind that a view reads; the kind of a key must be known."""
    if isinstance(field, Key):
        return (kind, field.kind) in (("string", "text"), ("number", "integer"))
    return isinstance(field, _KINDS[kind])


_KINDS: dict[Kind, type] = {"string": Text, "number": Number, "flag": Flag, "time": Time}
_NAMES: dict[Kind, str] = {
    "string": "Text or Key(kind='text')",
    "number": "Number or Key(kind='integer')",
    "flag": "Flag",
    "time": "Time",
}
_FEAST: dict[KeyKind, str] = {"text": "String", "integer": "Int64"}
