"""What `driftline apply` does with topics: compares them with the declaration, makes and enlarges them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from flows.adapters.bytewax.stored_slots import stored_slots
from flows.adapters.kafka.topic_settings import Role, judge
from flows.core.stream.broker import Broker
from flows.errors import AccessDenied, ConfigError
from flows.pipeline import OUTPUTS
from flows.runtime.engine import Engine

_START_OVER = "or start over without the pipeline's topics and the state directory"


class Made(NamedTuple):
    """The topics that were created, and what a person should know of the others, a line for each."""

    created: list[str]
    remarks: list[str]


def check(running: Engine, broker: Broker, flows: Iterable[str]) -> None:
    """Raise `ConfigError` where the declared `partitions` do not fit what is there; changes nothing."""
    for flow in flows:
        check_slots(running, flow)
    own, slots = _own(running), running.pipeline.partitions
    for topic, partitions in broker.topics().items():
        if topic in own and partitions > slots:
            raise ConfigError(
                f"topic {topic!r} has {partitions} partitions, and pipeline {running.pipeline.name!r} "
                f"declares partitions={slots}; no topic can lose any: declare partitions={partitions}, "
                f"{_START_OVER}"
            )


def check_slots(running: Engine, flow: str) -> None:
    """Raise `ConfigError` where the flow's state was stored by slots that the declaration does not have."""
    pipeline = running.pipeline
    slots, stored = running.source_slots(flow), stored_slots(running.recovery_dir(flow))
    if stored.slots > max(slots, pipeline.partitions):
        raise ConfigError(
            f"the state of flow {flow!r} was stored with partitions={stored.slots}, and pipeline "
            f"{pipeline.name!r} declares partitions={pipeline.partitions}; declare "
            f"partitions={stored.slots} again, {_START_OVER}"
        )
    shared = pipeline.topic("models")  # which every slot reads
    for slot, offsets in stored.offsets.items():
        for topic, number in (partition.rsplit("/", 1) for partition in offsets):
            if topic != shared and int(number) % slots != slot:
                raise ConfigError(
                    f"with partitions={slots} another slot of flow {flow!r} would read {topic}[{number}] "
                    f"again from its beginning; declare the `partitions` of before, {_START_OVER}"
                )


def make(running: Engine, broker: Broker) -> Made:
    """Create the topics that are missing, enlarge those that may be, and check the others."""
    created = broker.create_topics(running.topic_specs())
    counts = broker.existing(running.topics())
    old = {topic: counts[topic] for topic in running.topics() if topic not in created}
    return Made(created, [*_enlarge(running, broker, old), *_check_settings(running, broker, list(old))])


def _enlarge(running: Engine, broker: Broker, counts: Mapping[str, int]) -> list[str]:
    """Add partitions up to the number of slots where no record's key can move; return what was done."""
    own, slots = _own(running), running.pipeline.partitions
    said = []
    for topic, partitions in counts.items():
        if partitions < slots and (topic in own or _is_empty(broker, topic)):
            broker.add_partitions(topic, slots)
            said.append(f"topic {topic!r} has {slots} partitions now instead of {partitions}")
        elif partitions < slots:
            said.append(
                f"topic {topic!r} keeps its {partitions} of partitions={slots}: it holds records, and with "
                f"more partitions the next ones of a key may go to another. {_idle(partitions, slots)}"
            )
        elif partitions > slots:
            said.append(f"topic {topic!r} has {partitions} partitions, so a slot reads several of them")
    return said


def _idle(partitions: int, slots: int) -> str:
    first, last = partitions, slots - 1
    return f"Slot {first} reads none of it" if first == last else f"Slots {first} to {last} read none of it"


def _is_empty(broker: Broker, topic: str) -> bool:
    return all(first == end for first, end in broker.offsets(topic))


def _check_settings(running: Engine, broker: Broker, topics: Sequence[str]) -> list[str]:
    """Warnings about the topics' settings; raises `ConfigError` for what makes results wrong."""
    remarks, denials = [], {}
    for topic in topics:
        try:
            verdict = judge(_role(running, topic), broker.topic_settings(topic))
        except AccessDenied as denial:
            denials[topic] = denial
            continue
        if verdict.faults:
            raise ConfigError(f"topic {topic!r}: {'; '.join(verdict.faults)}")
        if verdict.warnings:
            remarks.append(f"topic {topic!r}: {'; '.join(verdict.warnings)}")
    if denials:
        (first, *_), names = denials.values(), ", ".join(denials)
        remarks.append(f"not checked how the topics are set up: {names}. {first}")
    return remarks


def _role(running: Engine, topic: str) -> Role:
    if topic == running.pipeline.topic("models"):
        return "models"
    return "output" if topic in _own(running) else "input"


def _own(running: Engine) -> set[str]:
    return {running.pipeline.topic(kind) for kind in OUTPUTS}
