"""Faults of a declaration whose members contradict one another; `rules` checks each member alone.

Each function yields faults as the rest of a sentence that begins with the pipeline or the stream.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from math import inf
from typing import Any, get_args

from flows.core import arguments
from flows.core.evaluation.costs import Costs
from flows.core.models.tasks import TASKS, Truth
from flows.core.stream.fields import Field, Flag, Key, Text, Time, spelled

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
    """What is wrong with the fields of a stream, and with those that hold its id and its event time."""
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
    """What is wrong with the topics that a pipeline reads, beside those that it writes."""
    own = {collision_name(topic): topic for topic in outputs}
    seen: dict[str, str] = {}
    for topic in inputs:
        alike = collision_name(topic)
        if alike in own:
            yield f"topic {topic!r} cannot be an input: the pipeline itself writes {own[alike]!r}; rename one"
        if seen.get(alike) == topic:
            yield f"topic {topic!r} is twice among `events`, `sources` and `labels`; give each its own topic"
        elif alike in seen:
            yield f"topics {seen[alike]!r} and {topic!r} differ only in '.' and '_'; Kafka refuses that"
        seen[alike] = topic


def collision_name(topic: str) -> str:
    """The name that Kafka's metrics give a topic; Kafka refuses two topics of one such name.

    >>> collision_name("card.fraud") == collision_name("card_fraud")
    True
    """
    return topic.replace(".", "_")


def target_faults(
    task_name: str, topic: str, fields: Mapping[str, Field], target: str, default: Truth | None
) -> Iterator[str]:
    """What is wrong with the target of a task, which is a field of the labels, and with the default label."""
    if task_name not in TASKS:
        yield f"there is no task {task_name!r}; declare one of {', '.join(TASKS)}"
        return
    task, field = TASKS[task_name], fields.get(target)
    kind = task.target.__name__
    if field is None:
        yield f"the target {target!r} is no field of topic {topic!r}; declare it there as {kind}()"
        return
    if not isinstance(field, task.target) or not field.required:
        yield (
            f"task {task_name!r} needs the target {target!r} of topic {topic!r} as a required {kind}(), "
            f"not {spelled(field)}"
        )
    truth = Flag() if isinstance(field, Flag) else field
    if default is not None and (fault := truth.fault(default)):
        yield f"default_label {fault}, as the target is declared"


def input_faults(inputs: Collection[str], topic: str, events: Mapping[str, Field]) -> Iterator[str]:
    """What is wrong with the event fields that the model gets."""
    for name in inputs:
        if name not in events:
            yield f"topic {topic!r} declares no field {name!r}, which `inputs` names; declare it there"


def slice_faults(
    slices: Collection[str], inputs: Collection[str], events: Mapping[str, Field]
) -> Iterator[str]:
    """What is wrong with the columns by whose values a model is judged."""
    for name in slices:
        if name not in inputs or not isinstance(events.get(name), Text | Flag | Key):
            yield f"the slice {name!r} must be one of `inputs` that is a Text, a Key or a Flag"


def cost_faults(task_name: str, costs: Costs | None) -> Iterator[str]:
    """What is wrong with the costs of wrong answers."""
    if costs is not None and (task_name != "binary" or not all(map(_is_cost, costs))):
        yield "`costs` are numbers above 0, of a binary task; declare other ones or none"


def _is_cost(cost: Any) -> bool:
    return arguments.number(cost) is None and 0 < cost < inf
