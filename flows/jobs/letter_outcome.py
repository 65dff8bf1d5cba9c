"""Sends dead letters again, and tells which of them became dead letters again."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from flows.core.stream.broker import Broker, TopicPartition, read_range
from flows.core.stream.dead_letter import DeadLetter, read
from flows.errors import InvalidRecord
from flows.jobs.dead_letters import inputs_of, replay
from flows.pipeline import Pipeline

MOST_FAILURES = 50  # that are kept
_POLL = 0.1  # seconds


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
    read_to = {topic: broker.committed(_group(pipeline, topic), topic) for topic, _ in ends}
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
