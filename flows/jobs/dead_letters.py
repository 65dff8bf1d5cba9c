"""Reads the dead letters of a pipeline, and sends their records to the topics they came from."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import NamedTuple

from flows.core.stream.broker import Broker, TopicPartition, read_range, read_since
from flows.core.stream.dead_letter import REASONS, DeadLetter, read, resent
from flows.errors import ConfigError, InvalidRecord
from flows.pipeline import Pipeline

MOST_FAILURES = 50  # of a replay, that are kept
_BATCH = 1000  # records sent at once
_POLL = 0.1  # seconds


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


class LetterOutcome(NamedTuple):
    """The records sent again, those skipped by topic, and those that became dead letters again.

    `failures` are the first of these letters. `is_read` is whether the flows have read all records; then no
    more of them can fail.
    """

    sent: int
    skipped: Mapping[str, int]
    failed: int
    failures: Sequence[DeadLetter]
    is_read: bool


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


def replay_and_wait(
    broker: Broker, pipeline: Pipeline, chosen: Iterable[DeadLetter], seconds: float
) -> LetterOutcome:
    """Send dead letters again, and wait up to `seconds` until the flows have read their records."""
    topic, inputs = pipeline.topic("dead-letters"), inputs_of(pipeline)
    begin = broker.ends([topic])
    contents: set[int] = set()
    origins: set[str] = set()

    def noted() -> Iterator[DeadLetter]:
        for letter in chosen:
            contents.add(_content(letter))
            origins.add(letter.origin)
            yield letter

    sent, skipped = replay(broker, noted(), inputs)
    ends = broker.ends(sorted(origins & set(inputs)))
    deadline = time.monotonic() + seconds
    while not (is_read := _are_read(broker, pipeline, ends)) and time.monotonic() < deadline:
        time.sleep(_POLL)
    failed, failures = 0, []
    for letter in _letters_since(broker, begin):
        if _content(letter) in contents:
            failed += 1
            failures += [letter] if failed <= MOST_FAILURES else []
    return LetterOutcome(sent, skipped, failed, failures, is_read)


def _content(letter: DeadLetter) -> int:
    return hash((letter.origin, letter.key, letter.value))


def _are_read(broker: Broker, pipeline: Pipeline, ends: Mapping[TopicPartition, int]) -> bool:
    """Return whether the flows have read up to these ends."""
    topics = {place.topic for place in ends}
    read_to = {topic: broker.committed(_group(pipeline, topic), topic) for topic in topics}
    return all(read_to[place.topic].get(place.partition, 0) >= end for place, end in ends.items())


def _group(pipeline: Pipeline, topic: str) -> str:
    return pipeline.group("learn" if topic == pipeline.labels.topic else "predict")


def _letters_since(broker: Broker, begin: Mapping[TopicPartition, int]) -> Iterator[DeadLetter]:
    ends = broker.ends(sorted({place.topic for place in begin}))
    for place, end in ends.items():
        for records in read_range(broker, place, begin.get(place, 0), end):
            for record in records:
                with suppress(InvalidRecord):
                    yield read(record)
