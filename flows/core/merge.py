"""Merges the partitions of several topics by event time, as Kafka Streams does.

Of the records buffered, the one with the smallest timestamp goes first. A partition that has a backlog in the
log but nothing buffered is waited for; at the end of the log nobody waits, so a live event is never held up.
Within a partition the order of the log is kept: a record that is older than the one before it follows it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from operator import itemgetter

from flows.core.broker import Record, TopicPartition
from flows.core.decode import CLOCK_TOLERANCE

_Position = tuple[int, int]  # the time that a record is merged at, then the rank of its topic


class _Buffer:
    """The records of one partition that wait for their turn, each with its position in the merged order."""

    __slots__ = ("entries", "latest", "rank")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.latest = -1
        self.entries: deque[tuple[_Position, Record]] = deque()

    def add(self, record: Record) -> None:
        self.latest = max(self.latest, record.timestamp)
        self.entries.append(((self.latest, self.rank), record))


class EventTimeMerge:
    """Buffers the records of `partitions` and gives them back in event-time order.

    At equal times the partitions go in the order given: sources before the events that ask about them.
    """

    def __init__(self, partitions: Sequence[TopicPartition]) -> None:
        self._buffers = {partition: _Buffer(rank) for rank, partition in enumerate(partitions)}

    def add(self, records: Iterable[Record]) -> None:
        """Buffer records, those of each partition in the order of its log."""
        buffers = self._buffers
        for record in records:
            buffers[TopicPartition(record.topic, record.partition)].add(record)

    def buffered(self, partition: TopicPartition) -> int:
        """How many records of `partition` wait for their turn."""
        return len(self._buffers[partition].entries)

    def take(self, limit: int, has_backlog: Callable[[TopicPartition], bool]) -> list[Record]:
        """At most `limit` records whose turn has come, in order.

        `has_backlog` tells whether the log holds more of a partition than has been added.
        """
        horizon = self._horizon(has_backlog)
        ready: list[tuple[_Position, Record]] = []
        for buffer in self._buffers.values():
            ready += _up_to(buffer, horizon, limit)
        ready.sort(key=itemgetter(0))
        self._put_back(ready[limit:])
        return [record for _, record in ready[:limit]]

    def _horizon(self, has_backlog: Callable[[TopicPartition], bool]) -> _Position | None:
        """The last position that no record still in the log can come before; None where there is no limit."""
        waited_for = [
            (buffer.latest if buffer.entries else -1, buffer.rank)
            for partition, buffer in self._buffers.items()
            if has_backlog(partition)
        ]
        return min(waited_for, default=None)

    def _put_back(self, rest: Sequence[tuple[_Position, Record]]) -> None:
        for entry in reversed(rest):
            record = entry[1]
            self._buffers[TopicPartition(record.topic, record.partition)].entries.appendleft(entry)


def _up_to(buffer: _Buffer, horizon: _Position | None, limit: int) -> list[tuple[_Position, Record]]:
    taken: list[tuple[_Position, Record]] = []
    entries = buffer.entries
    while entries and len(taken) < limit and (horizon is None or entries[0][0] <= horizon):
        taken.append(entries.popleft())
    return taken


def of_our_time(records: list[Record], now: int) -> list[Record]:
    """The records; one from the future gets the time `now` (ms), or all after it would be out of order."""
    latest = now + CLOCK_TOLERANCE
    return [r if r.timestamp <= latest else r._replace(timestamp=now) for r in records]


def merged(logs: Iterable[Iterable[Record]]) -> Iterator[Record]:
    """The records of whole partitions in the order of `EventTimeMerge`, one of each in memory.

    `logs` has the partitions' records, in the order in which those of equal time go.
    """
    positioned = [_positioned(rank, log) for rank, log in enumerate(logs)]
    return (record for _, record in merge(*positioned, key=itemgetter(0)))


def _positioned(rank: int, log: Iterable[Record]) -> Iterator[tuple[_Position, Record]]:
    latest = -1
    for record in log:
        latest = max(latest, record.timestamp)
        yield (latest, rank), record
