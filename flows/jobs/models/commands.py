"""Reads the registry of a pipeline, sends commands to its learner, and waits for their answers."""

import time
from collections.abc import Iterable
from contextlib import closing, suppress
from uuid import uuid4

from flows.core.registry.chain import Break, read_chain
from flows.core.registry.command import Action, Command, CommandSealer, Learning
from flows.core.registry.entry import Entry, EntrySealer
from flows.core.registry.registry import Registry, fold
from flows.core.stored_format import COMMAND
from flows.core.stream.broker import Broker, Consumer, Record, TopicPartition, read_range, read_since
from flows.core.stream.times import iso
from flows.errors import CommandRefused, RegistryError
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine

PATIENCE = 30.0  # seconds to wait for the answer to a command
_POLL = 0.2  # seconds
_GROUP = "driftline.reader"  # commits nothing


def read_registry(engine: Engine, broker: Broker) -> tuple[Registry, list[Break]]:
    """Return the registry as it is in the log, and what breaks its chain."""
    topic, sealer = engine.pipeline.topic("registry"), EntrySealer(engine.pipeline.name, engine.secrets)
    return fold(read_chain(read_since(broker, topic, 0), sealer))


def new_command(
    pipeline: Pipeline, action: Action, version: str, who: str, why: str, learning: Learning = "continue"
) -> Command:
    """Return a command of now."""
    issued = iso(round(time.time() * 1000))
    return Command(str(COMMAND), pipeline.name, uuid4().hex, action, version, who, why, issued, learning)


def carry_out(engine: Engine, command: Command, seconds: float = PATIENCE) -> list[Entry] | None:
    """Send a command, and return the entries that answer it, or None if none does within `seconds`.

    Raises `CommandRefused` if the learner refuses it.
    """
    pipeline = engine.pipeline
    registry = TopicPartition(pipeline.topic("registry"), 0)
    with closing(engine.open_broker()) as broker:
        end = broker.offsets(registry.topic)[registry.partition][1]
        at = _event_time(broker, pipeline.topic("predictions"))
        sealer = CommandSealer(pipeline.name, engine.secrets)
        with closing(broker.producer()) as producer:
            producer.send([sealer.seal(pipeline.topic("commands"), command, at)])
        entries = EntrySealer(pipeline.name, engine.secrets)
        with closing(broker.consumer(_GROUP, {registry: end})) as consumer:
            answer = _answer(consumer, entries, command.id, time.monotonic() + seconds)
    if answer and answer[0].change == "refused":
        raise CommandRefused(answer[0].why)
    return answer or None


def _answer(consumer: Consumer, sealer: EntrySealer, command: str, deadline: float) -> list[Entry]:
    """Return the entries that answer a command, none if there are none by the deadline."""
    found: list[Entry] = []
    is_complete = False  # the learner writes all of them at once, but a poll may return a part
    while not is_complete and time.monotonic() < deadline:
        polled = _entries(consumer.poll(1000, _POLL), sealer, command)
        is_complete = bool(found) and not polled
        found += polled
    return found


def _entries(records: Iterable[Record], sealer: EntrySealer, command: str) -> list[Entry]:
    entries: list[Entry] = []
    for record in records:
        with suppress(RegistryError):  # `driftline models history` names it
            entries.append(sealer.open(record).entry)
    return [entry for entry in entries if entry.command == command]


def _event_time(broker: Broker, topic: str) -> int:
    """Return the event time (ms) of the last predictions, at which a command is given; now, without any."""
    times = [
        record.timestamp
        for number, (first, end) in enumerate(broker.offsets(topic))
        for batch in read_range(broker, TopicPartition(topic, number), max(first, end - 1), end)
        for record in batch
    ]
    return max(times, default=int(time.time() * 1000))
