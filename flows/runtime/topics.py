"""Compares topics with the declaration, and creates and enlarges them, for `driftline apply`."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from flows.adapters.bytewax.stored_slots import stored_slots
from flows.adapters.kafka.topic_settings import TopicRole, judge
from flows.core.stream.broker import Broker
from flows.errors import AccessDenied, ConfigError
from flows.pipeline import Pipeline
from flows.runtime.flow_io import source_slots
from flows.runtime.state import PipelineState

_START_OVER = "or start over without the pipeline's topics and the state directory"


class Made(NamedTuple):
    """The topics that were created, and remarks on the others, one line each."""

    created: list[str]
    remarks: list[str]


def check(pipeline: Pipeline, state: PipelineState, broker: Broker, flows: Iterable[str]) -> None:
    """Raise `ConfigError` if the declared `partitions` do not fit the topics or the state; change nothing."""
    for flow in flows:
        check_slots(pipeline, state, flow)
    slots = pipeline.partitions
    for topic, partitions in broker.topics().items():
        if topic in pipeline.output_topics and partitions > slots:
            raise ConfigError(
                f"topic {topic!r} has {partitions} partitions, and pipeline {pipeline.name!r} declares "
                f"partitions={slots}; no topic can lose any: declare partitions={partitions}, {_START_OVER}"
            )


def check_slots(pipeline: Pipeline, state: PipelineState, flow: str) -> None:
    """Raise `ConfigError` if the slots in the flow's state do not fit the declared `partitions`."""
    slots, stored = source_slots(pipeline, flow), stored_slots(state.recovery_dir(flow))
    if stored.slots > max(slots, pipeline.partitions):
        raise ConfigError(
            f"the state of flow {flow!r} was stored with partitions={stored.slots}, and pipeline "
            f"{pipeline.name!r} declares partitions={pipeline.partitions}; declare "
            f"partitions={stored.slots} again, {_START_OVER}"
        )
    broadcast = pipeline.topic("models")  # every slot reads all of it
    for slot, offsets in stored.offsets.items():
        for topic, number in (partition.rsplit("/", 1) for partition in offsets):
            if topic != broadcast and int(number) % slots != slot:
                raise ConfigError(
                    f"with partitions={slots} another slot of flow {flow!r} would read {topic}[{number}] "
                    f"again from its beginning; declare the `partitions` of before, {_START_OVER}"
                )


def make(pipeline: Pipeline, broker: Broker) -> Made:
    """Create missing topics, add partitions where that is safe, and check the settings of the others.

    Raises `ConfigError` for settings that would make results wrong.
    """
    created = broker.create_topics(pipeline.topic_specs())
    counts = broker.existing(pipeline.topics)
    old = {topic: counts[topic] for topic in pipeline.topics if topic not in created}
    return Made(created, [*_enlarge(pipeline, broker, old), *_check_settings(pipeline, broker, old)])


def _enlarge(pipeline: Pipeline, broker: Broker, counts: Mapping[str, int]) -> list[str]:
    """Add partitions up to the number of slots, unless a key would move; return remarks."""
    slots = pipeline.partitions
    remarks = []
    for topic, partitions in counts.items():
        if partitions < slots and (topic in pipeline.output_topics or _is_empty(broker, topic)):
            broker.add_partitions(topic, slots)
            remarks.append(f"topic {topic!r} has {slots} partitions now instead of {partitions}")
        elif partitions < slots:
            remarks.append(
                f"topic {topic!r} keeps its {partitions} of partitions={slots}: it holds records, and with "
                f"more partitions the next ones of a key may go to another. {_idle(partitions, slots)}"
            )
        elif partitions > slots:
            remarks.append(f"topic {topic!r} has {partitions} partitions, so a slot reads several of them")
    return remarks


def _idle(partitions: int, slots: int) -> str:
    first, last = partitions, slots - 1
    return f"Slot {first} reads none of it" if first == last else f"Slots {first} to {last} read none of it"


def _is_empty(broker: Broker, topic: str) -> bool:
    return all(first == end for first, end in broker.offsets(topic))


def _check_settings(pipeline: Pipeline, broker: Broker, topics: Iterable[str]) -> list[str]:
    """Return warnings about the topics' settings; raises `ConfigError` if they would make results wrong."""
    remarks: list[str] = []
    denials: dict[str, AccessDenied] = {}
    for topic in topics:
        try:
            verdict = judge(_role(pipeline, topic), broker.topic_settings(topic))
        except AccessDenied as denial:
            denials[topic] = denial
            continue
        if verdict.faults:
            raise ConfigError(f"topic {topic!r}: {'; '.join(verdict.faults)}")
        if verdict.warnings:
            remarks.append(f"topic {topic!r}: {'; '.join(verdict.warnings)}")
    if denials:
        remarks.append(_not_checked(denials))
    return remarks


def _not_checked(denials: Mapping[str, AccessDenied]) -> str:
    first = next(iter(denials.values()))
    return f"the settings of these topics were not checked: {', '.join(denials)}. {first}"


def _role(pipeline: Pipeline, topic: str) -> TopicRole:
    if topic == pipeline.topic("models"):
        return "models"
    return "output" if topic in pipeline.output_topics else "input"
