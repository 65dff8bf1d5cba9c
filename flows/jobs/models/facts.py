"""Collects the facts of a model version from the log and the project."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from flows.adapters.git.repository import code_version
from flows.core.drift.signal import DriftSignal
from flows.core.exporting.facts import ModelFacts, ModelFeature
from flows.core.features.plan import FeaturePlan
from flows.core.lineage import CodeVersion, DataRange, Lineage, OffsetRange, cause_of, parameters_of
from flows.core.registry.registry import RegisteredVersion
from flows.core.stream.broker import Broker, TopicPartition, read_range, read_since
from flows.core.stream.times import in_milliseconds, milliseconds
from flows.errors import InvalidRecord
from flows.host.libraries import library_versions
from flows.jobs.models.newest import last_assessment
from flows.jobs.models.versions import NewestMessages, VersionState, version_state
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine
from flows.runtime.project import Project


class Sources(NamedTuple):
    """Where the facts of one pipeline's models come from."""

    project: Project
    pipeline: Pipeline
    plan: FeaturePlan
    broker: Broker


class KnownVersion(NamedTuple):
    """The newest state of a version, and what is known about it."""

    state: VersionState
    facts: ModelFacts


def known_version(
    engine: Engine, broker: Broker, registered: RegisteredVersion, messages: NewestMessages
) -> KnownVersion:
    """Return the state and the facts of a version; raises `SnapshotError`."""
    state = version_state(engine.pipeline, registered, messages, engine.sealer())
    sources = Sources(engine.project, engine.pipeline, engine.state.plan(), broker)
    return KnownVersion(state, collect(sources, registered, state))


def collect(sources: Sources, registered: RegisteredVersion, state: VersionState) -> ModelFacts:
    """Return the facts of a version in this state."""
    pipeline = sources.pipeline
    measured = last_assessment(pipeline, sources.broker, registered)
    return ModelFacts(
        lineage=_lineage(sources, registered, state, measured),
        role=registered.role,
        purpose=purpose(sources.project, pipeline.name),
        task=pipeline.task,
        target=pipeline.target,
        features=tuple(_features(pipeline, sources.plan)),
        label_wait=in_milliseconds(pipeline.label_wait),
        measured=measured,
        signals=tuple(_signals(sources, registered.name)),
    )


def purpose(project: Project, pipeline: str) -> str:
    """Return the first paragraph of the docstring of the pipeline's module, "" without one."""
    modules = dict(zip(project.pipelines, project.modules, strict=True))
    module = sys.modules.get(modules.get(pipeline, ""))
    return " ".join(((module and module.__doc__) or "").strip().partition("\n\n")[0].split())


def _lineage(
    sources: Sources, registered: RegisteredVersion, state: VersionState, measured: dict[str, Any] | None
) -> Lineage:
    origin = registered.born.lineage
    return Lineage(
        pipeline=sources.pipeline.name,
        version=registered.name,
        parent=origin.get("parent"),
        cause=cause_of(origin),
        created=state.time,
        labels=state.model.learned,
        code=_code(sources, origin),
        plan=origin.get("plan", sources.plan.hash),
        parameters=parameters_of(state.model.estimator),
        libraries=origin.get("libraries") or library_versions(),
        data=_data_range(sources, origin.get("since"), state.time),
        metrics={} if measured is None else measured["metrics"],
        snapshot=state.digest,
    )


def _code(sources: Sources, origin: Mapping[str, Any]) -> CodeVersion | None:
    """Return the commit that the version was made by, or the present one if its origin does not tell."""
    if "code" not in origin:
        return code_version(sources.project.directory)
    code = origin["code"]
    return None if code is None else CodeVersion(**code)


def _data_range(sources: Sources, trained_since: str | None, until: int) -> DataRange:
    """Return the labels learned, by their timestamps, and the predictions that they may belong to."""
    pipeline = sources.pipeline
    since = 0 if trained_since is None else milliseconds(trained_since)
    asked_since = max(0, since - in_milliseconds(pipeline.label_wait))
    offsets = [
        *_offsets(sources.broker, pipeline.topic("predictions"), asked_since, until),
        *_offsets(sources.broker, pipeline.labels.topic, since, until),
    ]
    if trained_since is None:
        since = min(_first_times(sources.broker, offsets), default=until)
    return DataRange(since, until, tuple(offsets))


def _offsets(broker: Broker, topic: str, since: int, until: int) -> Iterator[OffsetRange]:
    for number, (start, end) in enumerate(broker.offsets(topic)):
        partition = TopicPartition(topic, number)
        begin = max(start, broker.offset_at(partition, since))
        stop = min(end, broker.offset_at(partition, until + 1))
        if begin < stop:
            yield OffsetRange(topic, number, begin, stop)


def _first_times(broker: Broker, offsets: list[OffsetRange]) -> Iterator[int]:
    for topic, number, start, _ in offsets:
        for records in read_range(broker, TopicPartition(topic, number), start, start + 1):
            yield from (max(0, record.timestamp) for record in records)  # some have no timestamp


def _features(pipeline: Pipeline, plan: FeaturePlan) -> Iterator[ModelFeature]:
    fields, streams = pipeline.events.fields, {view.name: view.stream for view in plan.views}
    for name in pipeline.inputs:
        yield ModelFeature(
            name, type(fields[name]).__name__.lower(), f"the event, topic {pipeline.events.topic}"
        )
    for name, dtype in zip(plan.names, plan.dtypes, strict=True):
        view = name.partition("__")[0]
        stream = streams.get(view)
        yield ModelFeature(
            name, dtype, f"view {view}" if stream is None else f"view {view} of topic {stream}"
        )


def _signals(sources: Sources, version: str) -> Iterator[DriftSignal]:
    for record in read_since(sources.broker, sources.pipeline.topic("drift"), 0):
        with suppress(InvalidRecord):
            signal = DriftSignal.from_json(record.value or b"")
            if signal.model_version == version:
                yield signal
