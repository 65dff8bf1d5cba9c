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
    cost_faults,
    field_faults,
    input_faults,
    slice_faults,
    target_faults,
    topic_faults,
)
from flows.core.drift.concept import make_detector
from flows.core.drift.features import FeaturePolicy
from flows.core.drift.levels import Detector, DriftKind
from flows.core.drift.quality import QualityPolicy
from flows.core.evaluation.costs import Costs
from flows.core.evaluation.evaluation import Evaluation
from flows.core.evaluation.label_join import MAX_PENDING
from flows.core.features.intake import Intake
from flows.core.features.plan import FeaturePlan
from flows.core.learning.outliers import Outliers
from flows.core.models.model import Model
from flows.core.models.tasks import TaskName, Truth, task_of
from flows.core.stream.broker import Outgoing, TopicSpec
from flows.core.stream.decode import Decoder
from flows.core.stream.fields import Field, KeyKind, Time, resolved
from flows.core.stream.times import in_milliseconds
from flows.errors import ConfigError


@dataclass(frozen=True)
class Stream:
    """A topic that the engine reads, and what its records must look like.

    `id` and `time` name the fields with the event's id and its event time; both must be among `fields`.
    """

    topic: str
    id: str
    time: str
    fields: Mapping[str, Field]

    def __post_init__(self) -> None:
        arguments.check("Stream", self, _STREAM)
        arguments.refuse_any(f"topic {self.topic!r}", field_faults(self.fields, self.id, self.time))

    def event_time(self, value: Any) -> int:
        """The event time (ms) of a record whose time field has this value; raises ValueError for others."""
        field = self.fields[self.time]
        assert isinstance(field, Time)
        return field.read(value)

    def decoder(self, keys: Mapping[str, KeyKind] = MappingProxyType({})) -> Decoder:
        """Decodes the topic's records; `keys` are the plan's, which say what each `Key` must be."""
        return Decoder(self.id, self.time, resolved(self.fields, keys))


@dataclass(frozen=True)
class DriftPolicy:
    """When a rise of the error, or a change of what is served, is drift.

    `detector` is one of River's; `delta` is the significance of ADWIN (Bifet and Gavaldà, 2007), `options`
    are the arguments of any other, by River's names. No alarm is raised before `warm_up` labels of
    predictions whose windows were full, nor within `cool_down` of event time after the last one, nor when the
    error fell. Raises `ConfigError` for a detector or an argument that River does not have.

    `period` is that of the seasons: features and the rate of events are compared with the same part of it.
    `kinds` are the kinds of drift that are watched.
    """

    delta: float = 0.002
    warm_up: int = 1000
    cool_down: timedelta = timedelta(days=7)
    detector: Detector = "adwin"
    options: Mapping[str, Any] = field(default_factory=dict)
    period: timedelta | None = timedelta(days=1)
    kinds: tuple[DriftKind, ...] = ("concept", "feature", "prediction", "quality")

    def __post_init__(self) -> None:
        arguments.check("DriftPolicy", self, _DRIFT)
        if self.detector == "adwin" and self.options:
            raise arguments.refused("ADWIN takes its significance as `delta`; leave `options` out")
        try:
            make_detector(self.detector, self.options)
        except ConfigError as error:
            raise arguments.refused(str(error)) from error
        if self.period is not None and (self.period <= timedelta(0) or self.period % timedelta(hours=1)):
            raise arguments.refused(f"a drift period must be whole hours, and is {self.period}")
        if unknown := [kind for kind in self.kinds if kind not in get_args(DriftKind)]:
            raise arguments.refused(
                f"there is no kind of drift {unknown[0]!r}; choose among {', '.join(get_args(DriftKind))}"
            )

    def features(self) -> FeaturePolicy:
        """The figures for feature and prediction drift."""
        return FeaturePolicy(cool_down=in_milliseconds(self.cool_down), period=self._period())

    def quality(self) -> QualityPolicy:
        """The figures for data quality."""
        return QualityPolicy(cool_down=in_milliseconds(self.cool_down), period=self._period())

    def _period(self) -> int | None:
        return None if self.period is None else in_milliseconds(self.period)


@dataclass(frozen=True)
class RetrainPolicy:
    """What follows a drift alarm.

    A challenger needs at least `minimum_labels` to train on. It is promoted when a sequential test at
    `significance` finds it better than the champion, and retired when `patience` labels did not. The test's
    observations are means over `block` labels, enough that one block says little about the next.
    """

    minimum_labels: int = 500
    significance: float = 0.01
    patience: int = 50_000
    block: int = 500

    def __post_init__(self) -> None:
        arguments.check("RetrainPolicy", self, _RETRAIN)


class Dataset(Protocol):
    """Records for all input topics, in event-time order; `len` counts them, `events` those that ask."""

    events: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Outgoing]: ...


@dataclass(frozen=True)
class Pipeline:
    """One prediction task: its topics, features, model and policies.

    `entities` are the event fields that hold the keys of the Feast entities, and `service` is the
    Feast feature service whose features the model gets, after the event fields named in `inputs`.
    `task` says what is asked: "binary", "multiclass", "regression" or "anomaly"; `model` makes a fresh River
    estimator for it, `metrics` a River metric or several joined by `+`, if not those that the task has of its
    own. `target` is the label's field that holds the truth. For anomalies labels may be few or none.
    `slices` are those `inputs`, texts or flags, by which a drift alarm tells where the change is largest, and
    by whose values a binary model is judged. `costs` are those of its wrong answers.
    `lateness` is how far (event time) a record may be behind the newest of its topic and still count.
    `label_wait` is how long (event time) a prediction waits for its label, and a label for its event. A
    prediction that got none is then forgotten, or learned with the `default_label`, if there is one. At most
    `max_pending` predictions wait; where more would, the oldest are forgotten before their time.
    `outliers` are events with a number far outside the range of those before it. All are served; with "clip"
    such a number is moved to the end of its range before the event is learned, with "skip" the event is not
    learned, with "learn" it is learned as it is.
    `dataset` names a function, `module:function`, that yields records for `driftline publish`.
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
        """What is wrong with the members taken together."""
        yield from topic_faults([stream.topic for stream in self.input_streams], self.output_topics)
        yield from target_faults(
            self.task, self.labels.topic, self.labels.fields, self.target, self.default_label
        )
        yield from input_faults(self.inputs, self.events.topic, self.events.fields)
        yield from slice_faults(self.slices, self.inputs, self.events.fields)
        yield from cost_faults(self.task, self.costs)

    def new_model(self, version: str = "v1") -> Model:
        """A model that has learned nothing; raises `ConfigError` if it does not fit the task."""
        task, estimator = task_of(self.task), self.model()
        try:
            task.check(estimator)
        except ConfigError as error:
            raise ConfigError(f"pipeline {self.name!r}: the model: {error}") from None
        return Model(version, estimator, task=task)

    def evaluation(self) -> Evaluation:
        """The evaluation of a pipeline that has seen no label."""
        task = task_of(self.task)
        places = {name: self.inputs.index(name) for name in self.slices}
        return Evaluation(self.metrics or task.metrics, task, places, self.costs)

    def load_dataset(self, events: int | None = None, data: Path | None = None) -> Dataset:
        """The declared data set, or its first `events` events; raises `ConfigError` where there is none.

        `data` is a file that the data set is to be made of, for those that can.
        """
        if self.dataset is None:
            raise ConfigError(f"pipeline {self.name!r} declares no data set; publish a file instead")
        module, _, function = self.dataset.partition(":")
        try:
            load = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"pipeline {self.name!r}: the data set {self.dataset!r}: {error}") from error
        if data is not None and "data" not in signature(load).parameters:
            raise ConfigError(
                f"pipeline {self.name!r}: its data set is not read from a file; leave --data out"
            )
        loaded: Dataset = load(events) if data is None else load(events, data)
        return loaded

    @property
    def input_streams(self) -> tuple[Stream, ...]:
        """The streams that others write: the events, the sources, the labels."""
        return (self.events, *self.sources, self.labels)

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
        """The decoder of each topic that others write."""
        return {stream.topic: stream.decoder() for stream in self.input_streams}

    def intake(self, plan: FeaturePlan, state: Mapping[str, Any] | None = None) -> Intake:
        """The intake of one slot; `state` is what `Intake.snapshot` gave."""
        decoders = {stream.topic: stream.decoder(plan.key_kinds) for stream in self.feature_streams}
        models, dead_letters = self.topic("models"), self.topic("dead-letters")
        return Intake(decoders, self.events.topic, models, dead_letters, plan.streams, plan.lateness, state)

    def topic(self, kind: str) -> str:
        """The name of a topic that the engine writes, such as "predictions"."""
        return f"{self.name}.{kind}"

    def group(self, flow: str) -> str:
        """The consumer group of one of the five flows."""
        return f"driftline.{self.name}.{flow}"


OUTPUTS = ("predictions", "features", "models", "metrics", "drift", "dead-letters")

_ROOM = len(".dead-letters")  # of the longest kind; the group's name has no limit

_STREAM: dict[str, Rule] = {
    "topic": arguments.name,
    "id": arguments.text,
    "time": arguments.text,
    "fields": arguments.mapping,
}
_DRIFT: dict[str, Rule] = {
    "delta": arguments.share,
    "warm_up": arguments.whole(0),
    "cool_down": arguments.duration,
    "detector": arguments.text,
    "options": arguments.mapping,
    "period": arguments.optional(arguments.duration),
    "kinds": arguments.several(arguments.text, '("concept",)'),
}
_RETRAIN: dict[str, Rule] = {
    "minimum_labels": arguments.whole(1),
    "significance": arguments.share,
    "patience": arguments.whole(1),
    "block": arguments.whole(1),
}
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
