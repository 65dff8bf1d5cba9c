"""The declaration that a user writes: one frozen `Pipeline` for each prediction task."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, get_args

from flows.core import arguments
from flows.core.arguments import Rule
from flows.core.declaration import (
    STREAM_RULES,
    cost_faults,
    field_faults,
    first_search_faults,
    floor_faults,
    input_faults,
    search_task_faults,
    slice_faults,
    target_faults,
    topic_faults,
)
from flows.core.evaluation.costs import Costs
from flows.core.evaluation.evaluation import Evaluation, metrics_by_name
from flows.core.evaluation.label_join import MAX_PENDING
from flows.core.features.intake import Intake
from flows.core.features.plan import FeaturePlan
from flows.core.learning.candidates.search import Configuration
from flows.core.learning.candidates.triggers import MetricFloor
from flows.core.learning.outliers import Outliers
from flows.core.models.model import Model
from flows.core.models.tasks import Task, TaskName, Truth, task_of
from flows.core.stream.broker import Outgoing, TopicSpec
from flows.core.stream.decode import Decoder
from flows.core.stream.fields import Field, KeyKind, Time, resolved
from flows.errors import ConfigError
from flows.policies import DriftPolicy, RetrainPolicy


@dataclass(frozen=True)
class Stream:
    """A topic that the engine reads, and the schema of its records.

    `id` and `time` name the fields with the event's id and event time; both must be among `fields`.
    """

    topic: str
    id: str
    time: str
    fields: Mapping[str, Field]

    def __post_init__(self) -> None:
        arguments.check("Stream", self, STREAM_RULES)
        arguments.refuse_any(f"topic {self.topic!r}", field_faults(self.fields, self.id, self.time))

    def event_time(self, value: Any) -> int:
        """Return the event time (ms) for a value of the time field; raises ValueError if it is invalid."""
        field = self.fields[self.time]
        assert isinstance(field, Time)
        return field.read(value)

    def decoder(self, keys: Mapping[str, KeyKind] = MappingProxyType({})) -> Decoder:
        """Return the decoder of the topic's records; `keys` are the plan's, with the type of each `Key`."""
        return Decoder(self.id, self.time, resolved(self.fields, keys))


class Dataset(Protocol):
    """Records for all input topics, in event-time order; `len` counts them, `events` only the events."""

    events: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Outgoing]: ...


@dataclass(frozen=True)
class Pipeline:
    """One prediction task: its topics, features, model and policies.

    - `entities`: the event fields with the keys of the Feast entities.
    - `service`: the Feast feature service. The model gets the event fields `inputs`, then its features.
    - `task`: "binary", "multiclass", "regression" or "anomaly". Anomalies need few labels or none.
    - `model`: returns a new River estimator for the task.
    - `metrics`: returns a River metric, or several joined by `+`; by default those of the task.
    - `target`: the field of the labels with the truth.
    - `slices`: categorical `inputs`. A drift alarm names those with the largest change, and a binary model is
      evaluated for each of their values.
    - `costs`: the costs of a binary model's wrong answers.
    - `lateness`: how far (event time) a record may be behind the newest of its topic and still count.
    - `label_wait`: how long (event time) a prediction waits for its label, and a label for its event. After
      that the prediction is dropped, or learned with the `default_label`, if there is one.
    - `max_pending`: how many predictions wait at most; beyond that the oldest are dropped early.
    - `outliers`: how to learn an event with a number far outside its previous range. "clip" moves the number
      to the end of its range, "skip" does not learn the event, "learn" learns it unchanged. All are served.
    - `dataset`: a function, `module:function`, that returns records for `driftline publish`.
    """

    name: str
    events: Stream
    labels: Stream
    target: str
    entities: tuple[str, ...]
    service: str
    model: Callable[[], Any]
    task: TaskName = "binary"
    metrics: Callable[[], Any] | None = None
    inputs: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    costs: Costs | None = None
    sources: tuple[Stream, ...] = ()
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    retrain: RetrainPolicy = field(default_factory=RetrainPolicy)
    label_wait: timedelta = timedelta(days=7)
    default_label: Truth | None = None
    max_pending: int = MAX_PENDING
    outliers: Outliers = "clip"
    lateness: timedelta = timedelta(hours=3)
    partitions: int = 1
    dataset: str | None = None

    def __post_init__(self) -> None:
        what = f"pipeline {self.name!r}" if type(self.name) is str else "Pipeline"
        arguments.check(what, self, _PIPELINE)
        arguments.refuse_any(what, self._faults())

    def _faults(self) -> Iterator[str]:
        """Yield faults of members that contradict one another."""
        yield from topic_faults([stream.topic for stream in self.input_streams], self.output_topics)
        yield from target_faults(
            self.task, self.labels.topic, self.labels.fields, self.target, self.default_label
        )
        yield from input_faults(self.inputs, self.events.topic, self.events.fields)
        yield from slice_faults(self.slices, self.inputs, self.events.fields)
        yield from cost_faults(self.task, self.costs)
        search = self.retrain.search
        yield from search_task_faults(self.task, search is not None)
        if search is not None and search.first:
            yield from first_search_faults(self.model, search.models)
        if self.retrain.floor is not None:
            yield from floor_faults(self.retrain.floor.metric, self.fresh_metrics())

    def new_model(self, version: str = "v1") -> Model:
        """Return an untrained model; raises `ConfigError` if it does not fit the task."""
        return self._new_model(version, "the model", self.model())

    def configured_model(self, version: str, configuration: Configuration) -> Model:
        """Return an untrained model of the search; raises `ConfigError` if it does not fit the task."""
        assert self.retrain.search is not None
        make, name = self.retrain.search.models[configuration.family], configuration.name
        try:
            estimator = make(**dict(configuration.arguments))
        except Exception as error:  # the user's code
            raise ConfigError(
                f"pipeline {self.name!r}: the search: {name} failed with {type(error).__name__}: {error}"
            ) from error
        return self._new_model(version, f"the search: {name}", estimator)

    def is_declared(self, configuration: Configuration) -> bool:
        """Return whether a configuration of the search is the declared model."""
        search = self.retrain.search
        assert search is not None
        return search.models[configuration.family] is self.model and not configuration.arguments

    def untrained_models(self) -> list[Model]:
        """Return a model of the declaration, and one of each configuration of the search."""
        search = self.retrain.search
        found = () if search is None else search.configurations()
        return [self.new_model(), *(self.configured_model(each.name, each) for each in found)]

    def _new_model(self, version: str, what: str, estimator: Any) -> Model:
        task = task_of(self.task)
        try:
            task.check(estimator)
        except ConfigError as error:
            raise ConfigError(f"pipeline {self.name!r}: {what}: {error}") from None
        return Model(version, estimator, task=task)

    def metric_floor(self) -> MetricFloor | None:
        """Return the worst allowed value of a metric, if one is declared."""
        floor = self.retrain.floor
        if floor is None:
            return None
        return MetricFloor(floor.metric, floor.value, self.fresh_metrics()[floor.metric].bigger_is_better)

    def fresh_metrics(self) -> dict[str, Any]:
        """Return River's metrics by name, without labels."""
        return metrics_by_name((self.metrics or task_of(self.task).metrics)())

    def evaluation(self) -> Evaluation:
        """Return an evaluation without labels."""
        return Evaluation(*self.judged_by())

    def judged_by(self) -> tuple[Callable[[], Any], Task, Mapping[str, int], Costs | None]:
        """Return what an evaluation judges by: the metrics, the task, the places of the slices, the costs."""
        task = task_of(self.task)
        places = {name: self.inputs.index(name) for name in self.slices}
        return self.metrics or task.metrics, task, places, self.costs

    def load_dataset(self, events: int | None = None, data: Path | None = None) -> Dataset:
        """Return the data set, or its first `events` events; raises `ConfigError` if there is none.

        `data` is a file to read it from, if the data set supports that.
        """
        if self.dataset is None:
            raise ConfigError(f"pipeline {self.name!r} has no data set; publish a file instead")
        module, _, function = self.dataset.partition(":")
        try:
            load = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"pipeline {self.name!r}: the data set {self.dataset!r}: {error}") from error
        if data is not None and "data" not in signature(load).parameters:
            raise ConfigError(f"pipeline {self.name!r}: the data set is not read from a file; omit --data")
        loaded: Dataset = load(events) if data is None else load(events, data)
        return loaded

    @property
    def input_streams(self) -> tuple[Stream, ...]:
        """The streams that others write: the events, the sources, the labels."""
        return (self.events, *self.sources, self.labels)

    @property
    def stream_kinds(self) -> list[tuple[str, str]]:
        """The topic of each stream that others write, and what it has: events, source or labels."""
        sources = [(source.topic, "source") for source in self.sources]
        return [(self.events.topic, "events"), *sources, (self.labels.topic, "labels")]

    @property
    def feature_streams(self) -> tuple[Stream, ...]:
        """The streams that the predict flow reads: the sources, then the events."""
        return (*self.sources, self.events)

    @property
    def topics(self) -> list[str]:
        """All topics of the pipeline, those that it reads first."""
        return [*(stream.topic for stream in self.input_streams), *self.output_topics]

    def topic_specs(self) -> list[TopicSpec]:
        """Return the settings with which `driftline apply` creates the topics."""
        own, models = self.output_topics, self.topic("models")
        return [
            TopicSpec(topic, self.partitions, compacted=topic == models, roomy=topic in own)
            for topic in self.topics
        ]

    def feature_names(self, plan: FeaturePlan) -> tuple[str, ...]:
        """Return the names of the model's features: the event's `inputs`, then those of the plan."""
        return (*self.inputs, *plan.names)

    @property
    def output_topics(self) -> tuple[str, ...]:
        """The topics that the engine writes."""
        return tuple(self.topic(kind) for kind in OUTPUTS)

    def decoders(self) -> dict[str, Decoder]:
        """Return the decoder of each input topic."""
        return {stream.topic: stream.decoder() for stream in self.input_streams}

    def intake(self, plan: FeaturePlan, state: Mapping[str, Any] | None = None) -> Intake:
        """Return the intake of one slot; `state` comes from `Intake.snapshot`."""
        decoders = {stream.topic: stream.decoder(plan.key_kinds) for stream in self.feature_streams}
        models, dead_letters = self.topic("models"), self.topic("dead-letters")
        return Intake(decoders, self.events.topic, models, dead_letters, plan.streams, plan.lateness, state)

    def topic(self, kind: str) -> str:
        """Return the name of a topic that the engine writes, such as "predictions"."""
        return f"{self.name}.{kind}"

    def group(self, flow: str) -> str:
        """Return the consumer group of one of the five flows."""
        return f"driftline.{self.name}.{flow}"


OUTPUTS = (
    "predictions",
    "features",
    "models",
    "metrics",
    "drift",
    "learned",
    "registry",
    "commands",
    "dead-letters",
)

_ROOM = len(".dead-letters")  # the longest suffix; a group's name has no limit

_NAMES = arguments.several(arguments.text, '("region",)')
_PIPELINE: dict[str, Rule] = {
    "name": arguments.name_with_room(_ROOM),
    "events": arguments.instance_of(Stream),
    "labels": arguments.instance_of(Stream),
    "target": arguments.text,
    "entities": arguments.several(arguments.name, '("region",)'),
    "service": arguments.name,
    "model": arguments.function,
    "task": arguments.text,
    "metrics": arguments.optional(arguments.function),
    "inputs": _NAMES,
    "slices": _NAMES,
    "costs": arguments.optional(arguments.instance_of(Costs)),
    "sources": arguments.several(arguments.instance_of(Stream), '(Stream("arrivals", ...),)'),
    "drift": arguments.instance_of(DriftPolicy),
    "retrain": arguments.instance_of(RetrainPolicy),
    "outliers": arguments.one_of(get_args(Outliers)),
    "label_wait": arguments.duration,
    "max_pending": arguments.whole(1),
    "lateness": arguments.duration,
    "partitions": arguments.whole(1),
    "dataset": arguments.optional(arguments.text),
}
