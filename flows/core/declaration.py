"""Checks of a declaration's members against one another; `arguments` checks each member alone.

Each function yields faults as the rest of a sentence that starts with the pipeline or the stream.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from math import inf
from typing import Any, get_args

from flows.core import arguments
from flows.core.arguments import Rule
from flows.core.drift.concept import make_detector
from flows.core.drift.levels import Detector, DriftKind
from flows.core.evaluation.costs import Costs
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
    "significance": arguments.share,
    "patience": arguments.whole(1),
    "block": arguments.whole(1),
}

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
