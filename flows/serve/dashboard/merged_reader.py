"""Reads a topic from its last records on in the order of event time, some of what is new at each call."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from itertools import islice

from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.merge import merged
from flows.serve.follower import tail_starts

_Range = tuple[TopicPartition, int, int]  # the next offset, and the end


class MergedReader:
    """Returns each record of a topic once, from the last `most` of each partition on.

    `unread` is how many records were still to be read after the last call. `is_complete` is whether the topic
    was read from its first record on. `has_begun_again` is whether the last call found another topic than the
    one before, and read that from its start.
    """

    def __init__(self, topic: str, most: int) -> None:
        self._topic = topic
        self._most = most
        self._positions: dict[TopicPartition, int] = {}
        self.unread = 0
        self.is_complete = True
        self.has_begun_again = False

    def new_records(self, broker: Broker, count: int) -> list[Record]:
        """Return up to `count` records since the last call."""
        bounds = broker.offsets(self._topic)
        self.has_begun_again = any(start > end for place, start, end in self._ranges(bounds))
        if self.has_begun_again or not self._positions:
            self._positions = tail_starts(self._topic, bounds, self._most)
            self.is_complete = not any(self._positions.values())
        ranges = self._ranges(bounds)
        with ExitStack() as stack:
            logs = [stack.enter_context(closing(_log(broker, *each))) for each in ranges]
            found = list(islice(merged(logs), count))
        for record in found:
            self._positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
        unread = sum(end - start for _, start, end in ranges) - len(found)
        self.unread = unread if len(found) == count else 0  # a log may have gaps
        return found

    def _ranges(self, bounds: Sequence[tuple[int, int]]) -> list[_Range]:
        """Return what is not read yet of each partition."""
        places = (TopicPartition(self._topic, number) for number in range(len(bounds)))
        return [
            (place, max(first, self._positions.get(place, 0)), end)
            for place, (first, end) in zip(places, bounds, strict=True)
        ]


def _log(broker: Broker, place: TopicPartition, start: int, end: int) -> Generator[Record, None, None]:
    for records in read_range(broker, place, start, end):
        yield from records
