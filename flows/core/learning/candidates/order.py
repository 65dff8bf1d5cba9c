"""The order in which the models learned: the positions of the labels, as records of the learned topic.

Labels of several partitions are learned in the order of their arrival, which no replay has again. With this
order and the logged labels, a model after any number of labels is computed again, bit for bit.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from flows.core.learning.candidates.cuts import ASSUMED
from flows.core.stream.broker import Outgoing, Record
from flows.errors import InvalidRecord


class Run(NamedTuple):
    """`length` labels of one partition with consecutive offsets.

    A default label is a run of its own: `ASSUMED`, its time (ms) and 1.
    """

    partition: int
    offset: int
    length: int


class LearnedOrder(NamedTuple):
    """Some rows in the order in which they were learned; `first` counts the rows before them.

    `assumed` are the ids of the events with a default label, in their order.
    """

    first: int
    runs: Sequence[Run]
    assumed: Sequence[str] = ()

    @property
    def end(self) -> int:
        """The number of rows learned after these."""
        return self.first + sum(length for _, _, length in self.runs)

    def to_record(self, topic: str, time: int) -> Outgoing:
        """Return the record for the learned topic; `time` (ms) is that of the last label."""
        body = {"first": self.first, "runs": [*map(tuple, self.runs)], "assumed": self.assumed}
        value = orjson.dumps(body)
        identity = f"{self.first}:{sha256(value).hexdigest()[:16]}"
        return Outgoing(topic, value, timestamp=time, headers=(("id", identity.encode()),))

    @staticmethod
    def from_record(record: Record) -> "LearnedOrder":
        """Return the order in a record of the learned topic; raises `InvalidRecord`."""
        try:
            raw = orjson.loads(record.value or b"")
            runs = [Run(*map(int, run)) for run in raw["runs"]]
            return LearnedOrder(int(raw["first"]), runs, [str(each) for each in raw["assumed"]])
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidRecord("schema", f"it has no order of labels: {error}") from None


def as_runs(rows: Iterable[Sequence[Any]]) -> tuple[list[Run], list[str]]:
    """Return rows, as of `LearnedRow`, as runs and the ids of the default labels.

    >>> as_runs([(0, 7, 0, "a"), (0, 8, 0, "b"), (1, 3, 0, "c")])[0]
    [Run(partition=0, offset=7, length=2), Run(partition=1, offset=3, length=1)]
    """
    runs, assumed = list[Run](), list[str]()
    place, start, following = ASSUMED, 0, -1
    for row in rows:
        partition, offset = row[0], row[1]
        if offset == following and partition == place:
            following += 1
            continue
        if following >= 0:
            runs.append(Run(place, start, following - start))
        place, start, following = partition, offset, offset + 1
        if partition == ASSUMED:
            runs.append(Run(ASSUMED, offset, 1))
            assumed.append(row[3])
            following = -1
    if following >= 0:
        runs.append(Run(place, start, following - start))
    return runs, assumed


class Place(NamedTuple):
    """Where a row comes from: the position of its record, or `ASSUMED`, the time (ms) and the event's id."""

    partition: int
    offset: int
    id: str | None


def places(order: LearnedOrder) -> Iterator[Place]:
    """Yield the place of each row."""
    assumed = iter(order.assumed)
    for partition, offset, length in order.runs:
        if partition == ASSUMED:
            yield Place(partition, offset, next(assumed, ""))
        else:
            for at in range(offset, offset + length):
                yield Place(partition, at, None)
