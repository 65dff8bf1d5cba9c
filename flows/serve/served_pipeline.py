"""One pipeline as the server serves it: its models, its features, and what its topics say."""

from collections.abc import Sequence
from contextlib import closing
from functools import cached_property

from starlette.concurrency import run_in_threadpool

from flows.adapters.feast.feature_stores import OnlineReader
from flows.core.features.intake import DUPLICATE_WINDOW
from flows.core.models.frozen import FrozenModel
from flows.core.models.tasks import task_of
from flows.core.registry.version_names import parse_version_name
from flows.core.serving.inference.models_in_service import ModelsInService, ServedModel
from flows.core.serving.inference.named_rows import NamedRow, NamedRows
from flows.core.serving.inference.tensors import InferRequest
from flows.core.stream.broker import Broker, Record, TopicPartition
from flows.errors import UnknownVersion
from flows.host.functions import load_transformer
from flows.jobs.models.commands import read_registry
from flows.jobs.models.versions import newest_messages, version_state
from flows.runtime.engine import Engine
from flows.serve.answers import Answer, AwaitedPredictions
from flows.serve.follower import TopicFollower, last_records
from flows.serve.input_topic import InputTopic
from flows.serve.problems import Problem, retry_later
from flows.serve.writer import Writer

_KEPT = 8  # models that are no longer in service, and were asked for


class ServedPipeline:
    """The models in service of a pipeline, kept up to date from the models topic, and their features."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self.engine = engine
        self.pipeline = pipeline = engine.pipeline
        self.plan = engine.state.plan()
        self.task = task_of(pipeline.task)
        self.names = pipeline.feature_names(self.plan)
        events = pipeline.events
        transformer = load_transformer(self.plan)
        self.rows = NamedRows(events.fields, events.time, pipeline.inputs, self.plan, transformer)
        self.models = ModelsInService(pipeline.name, pipeline.new_model(), engine.sealer(), self.names)
        labels = pipeline.labels
        known = DUPLICATE_WINDOW * pipeline.partitions
        self.events = InputTopic(events.topic, events.decoder(self.plan.key_kinds), writer, known)
        self.labels = InputTopic(labels.topic, labels.decoder(), writer, known)
        self.answers = AwaitedPredictions(pipeline.topic("predictions"), events.topic, known)
        handlers = {
            pipeline.topic("models"): self.models.take,
            events.topic: self.events.take,
            labels.topic: self.labels.take,
            pipeline.topic("predictions"): self.answers.take_predictions,
            pipeline.topic("dead-letters"): self.answers.take_dead_letters,
        }
        self._follower = TopicFollower(engine.open_broker, self._starts, handlers)
        self._others: dict[str, ServedModel] = {}

    def start(self) -> None:
        """Start to follow the topics."""
        self._follower.start()

    def stop(self) -> None:
        """Stop following the topics."""
        self._follower.stop()

    def ask(self) -> None:
        """Follow the topics closely from now on."""
        self._follower.ask()

    async def is_current(self) -> bool:
        """Return whether what is on the topics is known, after a wait for what came while nobody asked."""
        follower = self._follower
        return follower.is_caught_up and (follower.is_close or await run_in_threadpool(follower.await_close))

    def waits_for(self) -> str | None:
        """Return why the pipeline is not ready, None if it is."""
        return self._follower.waits_for()

    def version_name(self, text: str) -> str:
        """Return the version or alias that a text names, which may be a URI; raises `UnknownVersion`."""
        wanted = parse_version_name(text)
        if wanted.pipeline not in ("", self.pipeline.name):
            raise UnknownVersion(
                f"a model URI must name the pipeline of the path, {self.pipeline.name!r}, got {text!r}"
            )
        return wanted.name

    async def model(self, name: str | None) -> ServedModel:
        """Return a version, an alias, or the champion; raises `UnknownVersion` and `SnapshotError`."""
        now, version = self.models.now, "champion" if name is None else self.version_name(name)
        if version == "champion":
            return now.models[now.champion]
        if version in now.models:
            return now.models[version]
        return await run_in_threadpool(self._registered, version)

    async def features(self, request: InferRequest) -> tuple[list[NamedRow], bool]:
        """Return the rows of a request, and whether the online store was read."""
        if not self.rows.needs_store(request.columns):
            return self.rows.rows(request.columns, request.rows), False
        return await run_in_threadpool(self._rows_of_store, request), True

    async def recent_prediction(self, event_id: str) -> Record | None:
        """Return the prediction for an event if it is among the last ones, else None."""
        if not self.answers.knows(event_id):
            return None
        return await run_in_threadpool(self._found, event_id)

    async def recent_answer(self, event_id: str) -> Answer | None:
        """Return the prediction for an event, or why it became a dead letter, if that was lately."""
        return await self.recent_prediction(event_id) or self.answers.refusal(event_id)

    def _found(self, event_id: str) -> Record | None:
        with closing(self.engine.open_broker()) as broker:
            return self.answers.find(broker, event_id)

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
        """Return where each topic is read from: the models whole, the others from their last records."""
        pipeline, topic = self.pipeline, self.pipeline.topic("models")
        starts = {
            TopicPartition(topic, number): first for number, (first, _) in enumerate(broker.offsets(topic))
        }
        for recent in (pipeline.events.topic, pipeline.labels.topic, pipeline.topic("predictions")):
            starts |= last_records(broker, recent, DUPLICATE_WINDOW)
        return starts | last_records(broker, pipeline.topic("dead-letters"), 0)


class ServedPipelines:
    """The pipelines that the server serves, by name."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._writer = Writer(engines[0].open_broker)  # all are on one broker
        pipelines = [ServedPipeline(each, self._writer) for each in engines]
        self.by_name = {each.pipeline.name: each for each in pipelines}

    def __getitem__(self, name: str) -> ServedPipeline:
        """Return the pipeline for a request that needs its topics; raises a `Problem` with the status 404."""
        found = self.known(name)
        found.ask()
        return found

    def known(self, name: str) -> ServedPipeline:
        """Return the pipeline, whose topics are then followed as before; raises a `Problem` as above."""
        found = self.by_name.get(name)
        if found is None:
            raise Problem(404, f"the pipeline must be one of {', '.join(self.by_name)}, got {name!r}")
        return found

    async def caught_up(self, name: str) -> ServedPipeline:
        """Return a pipeline for a request that depends on what is on its topics.

        Raises a `Problem` with the status 503 while they are not read yet: an event that was published before
        would be published again, and an old model would score.
        """
        found = self[name]
        if not await found.is_current():
            why = found.waits_for() or "they grow faster than it reads"
            raise retry_later(f"pipeline {name!r} has not read its topics yet: {why}")
        return found

    def start(self) -> None:
        """Start to read and to write topics."""
        self._writer.start()
        for served in self.by_name.values():
            served.start()

    def stop(self) -> None:
        """Write what waits, and stop reading."""
        self._writer.stop()
        for served in self.by_name.values():
            served.stop()

    def waits_for(self) -> str | None:
        """Return why one of the pipelines is not ready, None if all are."""
        return next((why for each in self.by_name.values() if (why := each.waits_for()) is not None), None)
