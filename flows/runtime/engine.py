"""The composition root: builds the parts of a flow from the project, the settings and the pipeline.

Only commands, the runner and the flows' `build` use it; everything else gets the parts that it needs.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bytewax.dataflow import Dataflow

from flows.adapters.bytewax.idle import SHORT, Idle
from flows.adapters.feast.feature_stores import FeatureStores
from flows.adapters.fsspec.artifacts import artifact_store
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Broker
from flows.core.stream.drain import Drain
from flows.host import state_dir
from flows.pipeline import Pipeline
from flows.runtime.broker_url import open_broker
from flows.runtime.flow_io import FlowIO
from flows.runtime.project import Project, find_project, load_project
from flows.runtime.state import PipelineState
from flows.runtime.telemetry import Telemetry
from flows.settings import Settings, load_settings


@dataclass(frozen=True)
class Engine:
    """One pipeline of a project, with the parts that its flows are built from.

    `drain` ends the sources of a flow in this process; `telemetry` observes its sources and sinks; `idle`
    lets it sleep while it has nothing to do.
    """

    project: Project
    settings: Settings
    pipeline: Pipeline
    drain: Drain = field(default_factory=Drain)
    telemetry: Telemetry = field(default_factory=Telemetry)
    idle: Idle = field(default_factory=lambda: Idle(SHORT))  # the flow may be one of several workers

    @cached_property
    def state(self) -> PipelineState:
        """The pipeline's files in the state directory."""
        return PipelineState(self.settings.state_dir, self.pipeline.name)

    @cached_property
    def stores(self) -> FeatureStores:
        """Feast's stores."""
        return FeatureStores(self.project.feature_repo, self.settings.feature_store)

    @cached_property
    def io(self) -> FlowIO:
        """The sources and sinks."""
        batch = self.settings.batch
        return FlowIO(self.pipeline, self.open_broker, batch, self.drain, self.telemetry, self.idle)

    def open_broker(self) -> Broker:
        """Return a new connection to the broker; raises `BrokerError`."""
        state_dir.check(self.settings.state_dir)  # by default the embedded log is in it
        return open_broker(self.settings.broker, self.settings.kafka_options)

    def sealer(self) -> Sealer:
        """Return the sealer, which signs and opens model snapshots and flow states."""
        current, *former = self.secrets
        return Sealer(
            current,
            [model.estimator for model in self.pipeline.untrained_models()],
            artifact_store(self.settings.artifacts, self.pipeline.name),
            [self.pipeline.evaluation()],
            former,
        )

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets: the first signs, all verify."""
        former = self.settings.former_secret
        return (self.settings.secret or self.state.secret(), *([former] if former else []))


def load_engine(pipeline: str = "", directory: Path | None = None) -> Engine:
    """Return the engine of the project that holds `directory`, by default the working directory.

    Raises `ConfigError` if the project has several pipelines and none is chosen.
    """
    project, settings = _load_project(directory or Path.cwd())
    return Engine(project, settings, project.pipeline(pipeline or settings.pipeline))


def load_engines(pipeline: str = "") -> list[Engine]:
    """Return the engine of the chosen pipeline of the working directory's project, by default of each."""
    project, settings = _load_project(Path.cwd())
    chosen = pipeline or settings.pipeline
    pipelines = [project.pipeline(chosen)] if chosen else project.pipelines.values()
    return [Engine(project, settings, each) for each in pipelines]


def _load_project(directory: Path) -> tuple[Project, Settings]:
    root = find_project(directory.resolve())
    settings = load_settings(root)
    return load_project(root), settings


def drain_on_signals(drain: Drain) -> None:
    """Set `drain` on SIGTERM and Ctrl-C, so that the flow stores its state and exits with 0."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: drain.set())


def entry_point(build: Callable[[Engine], Dataflow]) -> Callable[[], Dataflow]:
    """Return the function `flow` that `python -m bytewax.run flows.NAME` calls.

    It builds the dataflow for the project of the working directory.
    """

    def flow() -> Dataflow:
        engine = load_engine()
        drain_on_signals(engine.drain)
        return build(engine)

    return flow
