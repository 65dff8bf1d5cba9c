"""Reads the dead letters of a pipeline, and sends them to where they came from once more."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from typing import NamedTuple

from flows.core.stream.broker import Broker, TopicPartition, read_range, read_since
from flows.core.stream.dead_letter import REASONS, DeadLetter, read, resent
from flows.errors import ConfigError, InvalidRecord
from flows.runtime.engine import Engine

_AT_ONCE = 1000  # records in one acknowledged batch


class Wanted(NamedTuple):
    """Which dead letters are meant: all that fit each of these; what is empty fits any."""

    reason: str = ""
    origin: str = ""
    places: Collection[str] = ()

    def fits(self, letter: DeadLetter) -> bool:
        """Whether the letter is one of them."""
        return (
            self.reason in ("", letter.reason)
            and self.origin in ("", letter.origin)
            and (not self.places or letter.place in self.places)
        )


class Replayed(NamedTuple):
    """How many letters were sent again, and how many, by their topic, were not, since it is no input."""

    sent: int
    left_out: Mapping[str, int]


def check(wanted: Wanted, inputs: Collection[str] = ()) -> None:
    """Raise `ConfigError` for a reason, or among `inputs` a topic, that no dead letter can have."""
    if wanted.reason not in ("", *REASONS):
        raise ConfigError(f"there is no reason {wanted.reason!r}; the reasons are {', '.join(REASONS)}")
    if inputs and wanted.origin not in ("", *inputs):
        raise ConfigError(f"--topic {wanted.origin!r} is no input; the inputs are {', '.join(inputs)}")


def letters(running: Engine, broker: Broker, wanted: Wanted) -> Iterator[DeadLetter]:
    """The dead letters, partition by partition, oldest first; what is none on the topic is passed over."""
    for record in read_since(broker, running.pipeline.topic("dead-letters"), 0):
        with suppress(InvalidRecord):
            letter = read(record)
            if wanted.fits(letter):
                yield letter


def letter_at(running: Engine, broker: Broker, place: str) -> DeadLetter:
    """The dead letter at `place`, which is PARTITION/OFFSET; raises `ConfigError` where there is none."""
    topic = running.pipeline.topic("dead-letters")
    with suppress(ValueError, InvalidRecord):
        partition, offset = map(int, place.split("/"))
        bounds = broker.offsets(topic)
        if 0 <= partition < len(bounds) and bounds[partition][0] <= offset < bounds[partition][1]:
            for records in read_range(broker, TopicPartition(topic, partition), offset, offset + 1):
                return read(records[0])
    raise ConfigError(
        f"there is no dead letter at {place!r}; `driftline dead-letters list` shows their places"
    )


def inputs_of(running: Engine) -> list[str]:
    """The topics whose records may be sent again: those that others write."""
    return [stream.topic for stream in running.pipeline.input_streams]


def replay(broker: Broker, chosen: Iterable[DeadLetter], inputs: Collection[str]) -> Replayed:
    """Send each letter's record to the topic and partition that it came from, if that is an input."""
    left, sent, left_out = iter(chosen), 0, Counter[str]()
    with closing(broker.producer()) as producer:
        while batch := list(islice(left, _AT_ONCE)):
            records = [resent(letter) for letter in batch if letter.origin in inputs]
            producer.send(records)
            sent += len(records)
            left_out.update(letter.origin for letter in batch if letter.origin not in inputs)
    return Replayed(sent, left_out)
