"""One pipeline as the server serves it: its models, its features, and what its topics say."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property

from starlette.concurrency import run_in_threadpool

from flows.adapters.feast.feature_stores import OnlineReader
from flows.core.models.frozen import FrozenModel
from flows.core.models.tasks import task_of
from flows.core.serving.inference.models_in_service import ModelsInService, ServedModel
from flows.core.serving.inference.named_rows import NamedRow, NamedRows
from flows.core.serving.inference.tensors import InferRequest
from flows.core.stream.broker import Broker, TopicPartition
from flows.host.functions import load_transformer
from flows.jobs.models.commands import read_registry
from flows.jobs.models.versions import newest_messages, version_state
from flows.runtime.engine import Engine
from flows.serve.follower import Follower
from flows.serve.problems import Problem

_KEPT = 8  # models that are no longer in service, and were asked for


class ServedPipeline:
    """The models in service of a pipeline, kept up to date from the models topic, and their features."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.pipeline = pipeline = engine.pipeline
        self.plan = engine.state.plan()
        self.task = task_of(pipeline.task)
        self.names = pipeline.feature_names(self.plan)
        events = pipeline.events
        transformer = load_transformer(self.plan)
        self.rows = NamedRows(events.fields, events.time, pipeline.inputs, self.plan, transformer)
        self.models = ModelsInService(pipeline.name, pipeline.new_model(), engine.sealer(), self.names)
        self._follower = Follower(
            engine.open_broker, self._starts, {pipeline.topic("models"): self.models.take}
        )
        self._others: dict[str, ServedModel] = {}

    def start(self) -> None:
        """Start to follow the topics."""
        self._follower.start()

    def stop(self) -> None:
        """Stop following the topics."""
        self._follower.stop()

    def waits_for(self) -> str | None:
        """Return why the pipeline is not ready, None if it is."""
        return self._follower.waits_for()

    async def model(self, version: str | None) -> ServedModel:
        """Return a version, an alias, or the champion; raises `UnknownVersion` and `SnapshotError`."""
        now = self.models.now
        if version is None or version == "champion":
            return now.models[now.champion]
        if version in now.models:
            return now.models[version]
        return await run_in_threadpool(self._registered, version)

    async def features(self, request: InferRequest) -> tuple[list[NamedRow], bool]:
        """Return the rows of a request, and whether the online store was read."""
        if not self.rows.needs_store(request.columns):
            return self.rows.rows(request.columns, request.rows), False
        return await run_in_threadpool(self._rows_of_store, request), True

    def _rows_of_store(self, request: InferRequest) -> list[NamedRow]:
        return self.rows.rows(request.columns, request.rows, *self._online)

    @cached_property
    def _online(self) -> OnlineReader:
        """The online store; opening it imports Feast, which takes seconds."""
        return self.engine.stores.online_reader(self.plan)

    def _registered(self, name: str) -> ServedModel:
        """Return a version of the registry that is not in service under this name."""
        pipeline, sealer = self.pipeline, self.engine.sealer()
        with closing(self.engine.open_broker()) as broker:
            registered = read_registry(self.engine, broker)[0].find(name)
            known = self.models.now.models.get(registered.name) or self._others.get(registered.name)
            if known is not None:
                return known
            state = version_state(pipeline, registered, newest_messages(pipeline, broker, sealer), sealer)
        model = state.model
        found = ServedModel(model.version, model.learned, FrozenModel(model, self.names))
        if registered.role == "retired":  # it does not change any more
            self._others[model.version] = found
            while len(self._others) > _KEPT:
                del self._others[next(iter(self._others))]
        return found

    def _starts(self, broker: Broker) -> dict[TopicPartition, int]:
        topic = self.pipeline.topic("models")
        return {
            TopicPartition(topic, number): first for number, (first, _) in enumerate(broker.offsets(topic))
        }


class ServedPipelines:
    """The pipelines that the server serves, by name."""

    def __init__(self, pipelines: Sequence[ServedPipeline]) -> None:
        self.by_name = {each.pipeline.name: each for each in pipelines}

    def __getitem__(self, name: str) -> ServedPipeline:
        found = self.by_name.get(name)
        if found is None:
            raise Problem(404, f"the pipeline must be one of {', '.join(self.by_name)}, got {name!r}")
        return found

    def each(self, call: Callable[[ServedPipeline], object]) -> None:
        """Call a function with each pipeline."""
        for served in self.by_name.values():
            call(served)

    def waits_for(self) -> str | None:
        """Return why one of the pipelines is not ready, None if all are."""
        return next((why for each in self.by_name.values() if (why := each.waits_for()) is not None), None)
