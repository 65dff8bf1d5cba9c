"""Reads the dead letters of a pipeline, and sends their records to the topics they came from."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from typing import NamedTuple

from flows.core.stream.broker import Broker, TopicPartition, read_range, read_since
from flows.core.stream.dead_letter import REASONS, DeadLetter, read, resent
from flows.errors import ConfigError, InvalidRecord
from flows.pipeline import Pipeline

_BATCH = 1000  # records sent at once


class LetterFilter(NamedTuple):
    """Matches dead letters by reason, origin topic and place; an empty field matches any."""

    reason: str = ""
    origin: str = ""
    places: Collection[str] = ()

    def matches(self, letter: DeadLetter) -> bool:
        """Return whether the letter matches all fields."""
        return (
            self.reason in ("", letter.reason)
            and self.origin in ("", letter.origin)
            and (not self.places or letter.place in self.places)
        )


class LetterReplay(NamedTuple):
    """Counts the letters sent again, and those skipped because their topic is not an input, by topic."""

    sent: int
    skipped: Mapping[str, int]


def check_reason(wanted: LetterFilter) -> None:
    """Raise `ConfigError` for a reason that no dead letter has."""
    if wanted.reason not in ("", *REASONS):
        raise ConfigError(f"--reason must be one of {', '.join(REASONS)}, got {wanted.reason!r}")


def check_topic(wanted: LetterFilter, inputs: Collection[str]) -> None:
    """Raise `ConfigError` for an origin that is not among the `inputs`."""
    if wanted.origin not in ("", *inputs):
        raise ConfigError(f"--topic must be an input ({', '.join(inputs)}), got {wanted.origin!r}")


def letters(pipeline: Pipeline, broker: Broker, wanted: LetterFilter) -> Iterator[DeadLetter]:
    """Read the dead letters that match, partition by partition, oldest first; skip any other record."""
    for record in read_since(broker, pipeline.topic("dead-letters"), 0):
        with suppress(InvalidRecord):
            letter = read(record)
            if wanted.matches(letter):
                yield letter


def letter_at(pipeline: Pipeline, broker: Broker, place: str) -> DeadLetter:
    """Return the dead letter at `place`, PARTITION/OFFSET; raise `ConfigError` if there is none."""
    topic = pipeline.topic("dead-letters")
    with suppress(ValueError, InvalidRecord):
        partition, offset = map(int, place.split("/"))
        bounds = broker.offsets(topic)
        if 0 <= partition < len(bounds) and bounds[partition][0] <= offset < bounds[partition][1]:
            for records in read_range(broker, TopicPartition(topic, partition), offset, offset + 1):
                return read(records[0])
    raise ConfigError(
        f"PARTITION/OFFSET must be the place of a dead letter, got {place!r}; `driftline dead-letters list` "
        "shows the places"
    )


def inputs_of(pipeline: Pipeline) -> list[str]:
    """Return the input topics; only their records may be sent again."""
    return [stream.topic for stream in pipeline.input_streams]


def replay(broker: Broker, chosen: Iterable[DeadLetter], inputs: Collection[str]) -> LetterReplay:
    """Send each record to its topic and partition, if its topic is among the `inputs`."""
    remaining, sent, skipped = iter(chosen), 0, Counter[str]()
    with closing(broker.producer()) as producer:
        while batch := list(islice(remaining, _BATCH)):
            records = [resent(letter) for letter in batch if letter.origin in inputs]
            producer.send(records)
            sent += len(records)
            skipped.update(letter.origin for letter in batch if letter.origin not in inputs)
    return LetterReplay(sent, skipped)
