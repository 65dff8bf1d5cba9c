"""Checks of a declaration's members against one another; `arguments` checks each member alone.

Each function yields faults as the rest of a sentence that starts with the pipeline or the stream.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from inspect import signature
from math import inf
from typing import Any, get_args

from flows.core import arguments
from flows.core.arguments import Rule
from flows.core.drift.concept import make_detector
from flows.core.drift.levels import Detector, DriftKind
from flows.core.evaluation.costs import Costs
from flows.core.learning.candidates.search import configurations
from flows.core.learning.contest import MINIMUM_BLOCKS
from flows.core.models.tasks import TASKS, Truth
from flows.core.stream.fields import Field, Flag, Key, Text, Time, spelled
from flows.errors import ConfigError

STREAM_RULES: Mapping[str, Rule] = {
    "topic": arguments.name,
    "id": arguments.text,
    "time": arguments.text,
    "fields": arguments.mapping,
}
DRIFT_RULES: Mapping[str, Rule] = {
    "delta": arguments.share,
    "warm_up": arguments.whole(0),
    "cool_down": arguments.duration,
    "detector": arguments.text,
    "options": arguments.mapping,
    "period": arguments.optional(arguments.duration),
    "kinds": arguments.several(arguments.one_of(get_args(DriftKind)), '("concept",)'),
}
RETRAIN_RULES: Mapping[str, Rule] = {
    "minimum_labels": arguments.whole(1),
    "challengers": arguments.whole(1),
    "significance": arguments.share,
    "patience": arguments.whole(1),
    "block": arguments.whole(1),
    "minimum_labels_compared": arguments.whole(0),
    "minimum_effect": arguments.at_least(0.0),
    "probation": arguments.whole(0),
    "trial": arguments.whole(0),
    "approval": arguments.flag,
    "canary": arguments.part,
    "canary_labels": arguments.whole(1),
    "schedule": arguments.optional(arguments.duration),
    "cool_down": arguments.duration,
    "window": arguments.optional(arguments.duration),
    "budget": arguments.duration,
    "memory": arguments.whole(1),
}
SEARCH_RULES: Mapping[str, Rule] = {
    "models": arguments.mapping,
    "parameters": arguments.mapping,
    "first": arguments.whole(0),
}
FLOOR_RULES: Mapping[str, Rule] = {"metric": arguments.text, "value": arguments.number}
MOST_CONFIGURATIONS = 64  # of a search

_INSTEAD: dict[type, str] = {
    str: "Text()",
    int: "Number(), or Key() for the key of an entity",
    float: "Number()",
    bool: "Flag()",
    datetime: "Time()",
    **{kind: f"{kind.__name__}()" for kind in get_args(Field)},
}
_ANY_FIELD = "one of Text(), Key(), Number(), Flag() and Time()"


def field_faults(fields: Mapping[str, object], id_field: str, time_field: str) -> Iterator[str]:
    """Yield faults of a stream's fields, and of its id and time fields."""
    for name, given in fields.items():
        if not isinstance(given, Field):
            instead = _INSTEAD.get(given, _ANY_FIELD) if isinstance(given, type) else _ANY_FIELD
            yield f"field {name!r} must be a field, got {arguments.shown(given)}; write {instead}"
    roles: tuple[tuple[str, tuple[type, ...]], ...] = ((id_field, (Text, Key)), (time_field, (Time,)))
    for name, kinds in roles:
        field = fields.get(name)
        if not isinstance(field, kinds) or not getattr(field, "required", False):
            names = " or ".join(kind.__name__ for kind in kinds)
            yield f"must declare {name!r} as a required {names}, with {kinds[-1].__name__}()"


def topic_faults(inputs: Collection[str], outputs: Collection[str]) -> Iterator[str]:
    """Yield topics that are read twice, or that the pipeline itself writes."""
    own = {collision_name(topic): topic for topic in outputs}
    seen: dict[str, str] = {}
    for topic in inputs:
        alike = collision_name(topic)
        if alike in own:
            yield f"topic {topic!r} cannot be an input: the pipeline itself writes {own[alike]!r}; rename one"
        if seen.get(alike) == topic:
            yield f"topic {topic!r} is used twice in `events`, `sources` and `labels`; use one topic for each"
        elif alike in seen:
            yield f"topics {seen[alike]!r} and {topic!r} differ only in '.' and '_'; Kafka refuses that"
        seen[alike] = topic


def collision_name(topic: str) -> str:
    """Return the name of a topic in Kafka's metrics; Kafka refuses two topics with the same one.

    >>> collision_name("card.fraud") == collision_name("card_fraud")
    True
    """
    return topic.replace(".", "_")


def target_faults(
    task_name: str, topic: str, fields: Mapping[str, Field], target: str, default: Truth | None
) -> Iterator[str]:
    """Yield faults of a task's target, which is a field of the labels, and of the default label."""
    if task_name not in TASKS:
        yield f"`task` must be one of {', '.join(TASKS)}, got {task_name!r}"
        return
    task, field = TASKS[task_name], fields.get(target)
    kind = task.target.__name__
    if field is None:
        yield f"the target {target!r} is not a field of topic {topic!r}; declare it there as {kind}()"
        return
    if not isinstance(field, task.target) or not field.required:
        yield (
            f"the target {target!r} of topic {topic!r} must be a required {kind}() for task {task_name!r}, "
            f"got {spelled(field)}"
        )
    truth = Flag() if isinstance(field, Flag) else field
    if default is not None and (fault := truth.fault(default)):
        yield f"`default_label` {fault}, as the target is declared"


def input_faults(inputs: Collection[str], topic: str, events: Mapping[str, Field]) -> Iterator[str]:
    """Yield inputs that the events do not declare."""
    for name in inputs:
        if name not in events:
            yield f"`inputs` names {name!r}, which is not a field of topic {topic!r}; declare it there"


def slice_faults(
    slices: Collection[str], inputs: Collection[str], events: Mapping[str, Field]
) -> Iterator[str]:
    """Yield slices that are not categorical inputs."""
    for name in slices:
        if name not in inputs or not isinstance(events.get(name), Text | Flag | Key):
            yield f"the slice {name!r} must be one of `inputs` and a Text, a Key or a Flag"


def cost_faults(task_name: str, costs: Costs | None) -> Iterator[str]:
    """Yield a fault if there are costs for a task other than binary, or costs that are not above 0."""
    if costs is not None and (task_name != "binary" or not all(map(_is_cost, costs))):
        yield "`costs` must be numbers above 0, for a binary task; correct them or leave them out"


def _is_cost(cost: Any) -> bool:
    return arguments.number(cost) is None and 0 < cost < inf


def drift_faults(detector: Detector, options: Mapping[str, Any], period: timedelta | None) -> Iterator[str]:
    """Yield faults of a detector and its options, and of the period of the seasons."""
    if detector == "adwin" and options:
        yield "`options` must be empty for ADWIN, whose significance is `delta`; leave them out"
    try:
        make_detector(detector, options)
    except ConfigError as error:
        yield str(error)
    if period is not None and (period <= timedelta(0) or period % timedelta(hours=1)):
        yield f"`period` must be whole hours above 0, got {period}"


def contest_faults(block: int, patience: int, minimum_labels: int, probation: int) -> Iterator[str]:
    """Yield a minimum that is never reached, and a probation that ends before the test can decide."""
    if minimum_labels > patience:
        yield (
            f"`minimum_labels_compared` must be at most `patience` ({patience:,}), got {minimum_labels:,}; "
            "no challenger could be promoted"
        )
    least = max(MINIMUM_BLOCKS * block, minimum_labels)
    if 0 < probation < least:
        yield (
            f"`probation` must be 0 or at least {least:,} labels ({MINIMUM_BLOCKS} blocks and "
            f"`minimum_labels_compared`), got {probation:,}; the test could not decide before its end"
        )


def trigger_faults(
    schedule: timedelta | None, has_floor: bool, window: timedelta | None, budget: timedelta
) -> Iterator[str]:
    """Yield durations of 0, and a schedule or a floor without a history to learn."""
    for name, duration in (("schedule", schedule), ("window", window), ("budget", budget)):
        if duration == timedelta(0):
            yield f"`{name}` must be longer than 0, got {duration}"
    if window is None and (schedule is not None or has_floor):
        yield (
            "`window` must be declared with `schedule` or `floor`: it is the history that their candidates "
            "learn, such as timedelta(days=30)"
        )


def search_faults(
    models: Mapping[str, Callable[..., Any]], parameters: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield faults of the families and of the values of their parameters."""
    if not models:
        yield "`models` must name at least one family, such as {'forest': forest}"
    for family, make in models.items():
        if fault := arguments.function(make):
            yield f"`models` must have functions; {family!r} {fault}"
    for family, values in parameters.items():
        if family not in models:
            yield f"`parameters` names {family!r}, which is not one of `models`; declare it there"
        elif fault := arguments.mapping(values):
            yield f"the `parameters` of {family!r} {fault}"
        else:
            yield from _parameter_faults(family, models[family], values)
    count = len(configurations(models, parameters))
    if count > MOST_CONFIGURATIONS:
        yield f"there must be at most {MOST_CONFIGURATIONS} configurations, got {count}; try fewer values"


def _parameter_faults(family: str, make: Callable[..., Any], values: Mapping[str, Any]) -> Iterator[str]:
    for name, tried in values.items():
        if not isinstance(tried, tuple | list) or not tried:
            yield (
                f"parameter {name!r} of {family!r} must be a tuple of the values to try, got "
                f"{arguments.shown(tried)}; write {arguments.shown((tried,))}"
            )
    try:
        signature(make).bind(**dict.fromkeys(values))
    except TypeError as error:
        yield f"family {family!r} must take the declared `parameters`: {error}"
    except ValueError:
        pass  # a class without a signature that Python knows


def search_task_faults(task_name: str, has_search: bool) -> Iterator[str]:
    """Yield a fault if a task without labels has a search, whose losses need them."""
    if has_search and task_name in TASKS and not TASKS[task_name].learns_from_labels:
        yield f"`search` compares models by labels, and task {task_name!r} learns without; leave it out"


def first_search_faults(model: Callable[..., Any], models: Mapping[str, Callable[..., Any]]) -> Iterator[str]:
    """Yield a fault if the first search does not compare with the declared model."""
    if model not in models.values():
        yield (
            "a search with `first` must have the pipeline's `model` among its `models`, to compare with it, "
            f"got {', '.join(models)}; add it"
        )


def floor_faults(metric: str, metrics: Collection[str]) -> Iterator[str]:
    """Yield a fault if the metric of a floor is not among those of the pipeline."""
    if metric not in metrics:
        yield f"the floor's `metric` must be one of {', '.join(metrics)}, got {metric!r}"
