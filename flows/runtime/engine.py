"""The composition root: what a flow is made of, put together from the project and the settings."""

import logging
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows import settings as settings_module
from flows.adapters.bytewax.io import Inputs, MergedSource, TopicSink
from flows.adapters.fsspec.artifacts import artifact_store
from flows.adapters.prometheus import metrics as telemetry
from flows.adapters.sqlite.seed import Seed
from flows.core.drift.monitor import MonitorSettings
from flows.core.drift.quality import Column
from flows.core.features.batch import Question
from flows.core.features.lookups import Lookups
from flows.core.features.plan import FeaturePlan
from flows.core.features.transforms import Transformer
from flows.core.features.windows.sliding import Value
from flows.core.learning.learner import Learner, Policy
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Broker, TopicPartition, TopicSpec
from flows.core.stream.drain import Drain
from flows.core.stream.fields import Field, Number
from flows.core.stream.times import in_milliseconds
from flows.errors import ConfigError, StoreError
from flows.host import state_dir
from flows.host.functions import load_function
from flows.pipeline import OUTPUTS, Pipeline
from flows.runtime import project as projects
from flows.runtime.broker_url import open_broker
from flows.runtime.project import Project
from flows.runtime.validation import check_plan
from flows.settings import Settings

if TYPE_CHECKING:
    from feast import FeatureStore

    from flows.adapters.feast.offline import OfflineStore
    from flows.adapters.feast.online import OnlineStore


_log = logging.getLogger("driftline.topics")


class Telemetry:
    """Shows as metrics what the sources and sinks of this process do."""

    read = staticmethod(telemetry.records_read)
    lag = staticmethod(telemetry.lag)
    written = staticmethod(telemetry.records_written)

    def __init__(self) -> None:
        self.has_partitions = False
        self.has_grown = False
        self._held: dict[TopicPartition, tuple[int, int]] = {}  # where reading ends, and for how many looks

    def assigned(self) -> None:
        """The source has its partitions, so the flow is ready."""
        self.has_partitions = True

    def held_back(self, partition: TopicPartition, offset: int, records: int) -> None:
        """Show what an open transaction holds back, and warn of one that lasts from look to look."""
        telemetry.held_back(partition, records)
        before, looks = self._held.pop(partition, (offset, 0))
        if not records:
            return
        looks = looks + 1 if before == offset else 1
        self._held[partition] = offset, looks
        if looks == 2:
            _log.warning(
                "%s records of topic %r, partition %d, cannot be read: somebody's transaction is open since "
                "offset %d, the last stable one; the flow goes on without them until it ends",
                f"{records:,}",
                *partition,
                offset,
            )

    def grown(self, topic: str, partitions: int) -> None:
        """A topic got more partitions than are read; several slots of the flow notice it."""
        if not self.has_grown:
            self.has_grown = True
            _log.warning(
                "topic %r has %d partitions now, more than when the flow began; it ends, to be started again "
                "with all of them",
                topic,
                partitions,
            )


@dataclass(frozen=True)
class Engine:
    """One pipeline of a project, and all that its flows share.

    `drain` tells the sources to end; `watch` counts what they and the sinks do.
    """

    project: Project
    settings: Settings
    pipeline: Pipeline
    drain: Drain = field(default_factory=Drain)
    watch: Telemetry = field(default_factory=Telemetry)

    def open_broker(self) -> Broker:
        """A new connection to the broker; raises `BrokerError`."""
        state_dir.check(self.settings.state_dir)  # where the embedded log is by default
        return open_broker(self.settings.broker, self.settings.kafka_options)

    @property
    def plan_file(self) -> Path:
        """Where `driftline apply` leaves the compiled feature plan."""
        return self.settings.state_dir / "plans" / f"{self.pipeline.name}.json"

    def plan(self) -> FeaturePlan:
        """The feature plan; raises `ConfigError` before the first `driftline apply`."""
        state_dir.check(self.settings.state_dir)
        with state_dir.explained(self.settings.state_dir):
            known = self.plan_file.is_file() and self.plan_file.read_bytes()
        if not known:
            raise ConfigError(
                f"pipeline {self.pipeline.name!r} has no feature plan yet; run `driftline apply`"
            )
        return FeaturePlan.from_json(known)

    def keep_plan(self, plan: FeaturePlan) -> None:
        """Leave the plan where the flows find it; raises `StoreError`, and the one that was there stays."""
        file = self.plan_file
        unfinished = file.with_name(f"{file.name}.tmp")
        try:
            state_dir.make_private(file.parent)
            unfinished.write_bytes(plan.to_json())
            unfinished.replace(file)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise StoreError(
                f"the feature plan cannot go to {file}: {error.strerror}; {state_dir.remedy(error)}"
            ) from error

    def topics(self) -> list[str]:
        """All topics of the pipeline, those that it reads first."""
        inputs = [stream.topic for stream in self.pipeline.input_streams]
        return [*inputs, *map(self.pipeline.topic, OUTPUTS)]

    def topic_specs(self) -> list[TopicSpec]:
        """How all topics of the pipeline are made."""
        pipeline = self.pipeline
        models, own = pipeline.topic("models"), {pipeline.topic(kind) for kind in OUTPUTS}
        return [
            TopicSpec(name, pipeline.partitions, compacted=name == models, roomy=name in own)
            for name in self.topics()
        ]

    def check(self, plan: FeaturePlan) -> None:
        """Raise `ConfigError` unless the declaration agrees with itself and with the plan's views."""
        check_plan(self.pipeline, plan)

    def names(self, plan: FeaturePlan) -> tuple[str, ...]:
        """The names of the model's features: the event's inputs, then the plan's."""
        return (*self.pipeline.inputs, *plan.names)

    def transformer(self, plan: FeaturePlan) -> Transformer:
        """Runs the plan's row transforms; raises `ConfigError` where their code is not what was applied."""
        return Transformer(plan, {t.name: load_function(t) for t in plan.transforms})

    def feature_store(self) -> "FeatureStore":
        """Feast's feature store of the project; this imports Feast, which takes seconds."""
        from flows.adapters.feast.repo import open_store

        return open_store(self.project.feature_repo, self.settings.feature_store)

    def stores(self, plan: FeaturePlan) -> tuple["OfflineStore", "OnlineStore"]:
        """The plan's part of the offline and of the online store; this imports Feast, too."""
        from flows.adapters.feast.offline import OfflineStore
        from flows.adapters.feast.online import OnlineStore
        from flows.adapters.feast.repo import offline_folders

        store = self.feature_store()
        return OfflineStore(offline_folders(store, plan), plan), OnlineStore(store, plan)

    def lookups(self, plan: FeaturePlan) -> Lookups:
        """Reads the plan's batch views from the online store.

        It imports Feast, which takes seconds: only for plans that have some.
        """
        from flows.adapters.feast.lookup import OnlineTable

        return Lookups(plan, OnlineTable(self.feature_store(), plan))

    def looked_up(
        self, plan: FeaturePlan, questions: Iterable[Question]
    ) -> dict[tuple[str, int], list[Value]]:
        """The features of batch views for a data set, by id and time (ms) of its events, as of that time.

        For plans that have some, as above. Raises `StoreError`.
        """
        from flows.adapters.feast.lookup import past

        return past(self.feature_store(), plan, questions)

    def sealer(self) -> Sealer:
        """Seals model snapshots with the project's secret."""
        secret = self.settings.secret or state_dir.secret(self.settings.state_dir / "secret")
        artifacts = artifact_store(self.settings.artifacts, self.pipeline.name)
        pipeline = self.pipeline
        return Sealer(secret, [pipeline.new_model().estimator], artifacts, [pipeline.evaluation()])

    def columns(self, plan: FeaturePlan) -> dict[str, Column]:
        """What the columns of the model's features hold, for drift and data quality."""
        fields = self.pipeline.events.fields
        inputs = {name: _column(fields[name]) for name in self.pipeline.inputs}
        features = zip(plan.names, plan.dtypes, plan.fills, strict=True)
        return inputs | {
            name: Column("category" if dtype == "string" else "number", fill=fill)
            for name, dtype, fill in features
        }

    def learner(self, plan: FeaturePlan) -> Learner:
        """The learner of the pipeline before its first label."""
        pipeline = self.pipeline
        policy = Policy(
            label_wait=in_milliseconds(pipeline.label_wait),
            delta=pipeline.drift.delta,
            warm_up=pipeline.drift.warm_up,
            cool_down=in_milliseconds(pipeline.drift.cool_down),
            significance=pipeline.retrain.significance,
            patience=pipeline.retrain.patience,
            block=pipeline.retrain.block,
            detector=pipeline.drift.detector,
            options=pipeline.drift.options,
            default_label=pipeline.default_label,
            max_pending=pipeline.max_pending,
            outliers=pipeline.outliers,
            monitor=MonitorSettings(
                self.columns(plan),
                pipeline.drift.kinds,
                pipeline.drift.features(),
                pipeline.drift.quality(),
                pipeline.slices,
                pipeline.drift.warm_up,
            ),
        )
        return Learner(pipeline.name, policy, self.names(plan), pipeline.new_model(), pipeline.evaluation())

    def identity(self) -> str:
        """What tells the state directory from any other that has not been copied from it."""
        return state_dir.made_once(self.settings.state_dir / "engine").decode()

    def waits_for(self) -> str | None:
        """What the flow is not ready for, if anything: its answer to `/readyz`."""
        return None if self.watch.has_partitions else "the partitions are not assigned yet"

    def recovery_dir(self, flow: str) -> Path:
        """Where Bytewax stores the state of a flow."""
        return self.settings.state_dir / "state" / self.pipeline.name / flow

    @property
    def seed_file(self) -> Path:
        """Where `driftline backfill --seed` leaves what the predict flow starts with."""
        return self.settings.state_dir / "state" / self.pipeline.name / "seed.db"

    def seed(self, plan: FeaturePlan) -> Seed | None:
        """The seed, where there is one; raises `ConfigError` for one of another plan."""
        return Seed(self.seed_file, plan.hash, self.pipeline.partitions) if self.seed_file.exists() else None

    def source_slots(self, flow: str) -> int:
        """How many slots the source of a flow has: one for each partition of the pipeline.

        The learner has one, so that no partition runs ahead of the others in event time: its time would end
        their waiting.
        """
        return 1 if flow == "learn" else self.pipeline.partitions

    def source(
        self,
        flow: str,
        topics: Sequence[str],
        broadcast: Sequence[str] = (),
        *,
        start: Mapping[str, int] | None = None,
        idle: float = 0.003,
        pace: float = 0.0,
    ) -> MergedSource:
        """The source of a flow.

        `start`, `idle` and `pace` (seconds) are those of `MergedSource`.
        """
        inputs = Inputs(topics, broadcast, start or {}, self.pipeline.decoders())
        group = self.pipeline.group(flow)
        return MergedSource(
            self.open_broker,
            group,
            inputs,
            self.source_slots(flow),
            self.settings.batch,
            self.watch,
            self.drain,
            idle,
            pace,
        )

    def sink(self, kinds: Sequence[str]) -> TopicSink:
        """The sink of a flow, over the pipeline's own topics of these kinds."""
        topics = [self.pipeline.topic(kind) for kind in kinds]
        return TopicSink(self.open_broker, topics, self.pipeline.partitions, self.watch)


def engine(pipeline: str = "", directory: Path | None = None) -> Engine:
    """The engine of the project that holds `directory` (by default the working directory).

    Raises `ConfigError` where the project has several pipelines and none is chosen.
    """
    project, settings = _project(directory)
    return Engine(project, settings, project.pipeline(pipeline or settings.pipeline))


def engines(pipeline: str = "") -> list[Engine]:
    """The engine of the chosen pipeline of this directory's project; without a choice those of all."""
    project, settings = _project()
    chosen = pipeline or settings.pipeline
    pipelines = [project.pipeline(chosen)] if chosen else project.pipelines.values()
    return [Engine(project, settings, each) for each in pipelines]


def _project(directory: Path | None = None) -> tuple[Project, Settings]:
    root = projects.find((directory or Path.cwd()).resolve())
    settings = settings_module.load(root)
    return projects.load(root), settings


def drain_on_signals(running: Engine) -> None:
    """Let SIGTERM and Ctrl-C end the sources, so that the flow stores its state and exits with 0."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.drain.set())


def _column(field: Field) -> Column:
    """What a column of this event field holds; where no range is declared, it is learned."""
    if not isinstance(field, Number):
        return Column("category")
    low = None if field.low == Number.low else field.low
    return Column("number", low, None if field.high == Number.high else field.high)
