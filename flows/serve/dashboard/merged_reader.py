"""Reads a topic from its last records on in the order of event time, some of what is new at each call."""

from collections.abc import Generator
from contextlib import ExitStack, closing
from itertools import islice

from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.core.stream.merge import merged
from flows.serve.follower import last_records

_Range = tuple[TopicPartition, int, int]  # the next offset, and the end


class MergedReader:
    """Returns each record of a topic once, from the last `most` of each partition on.

    `unread` is how many records were still to be read after the last call. `is_complete` is whether the topic
    was read from its first record on.
    """

    def __init__(self, topic: str, most: int) -> None:
        self._topic = topic
        self._most = most
        self._positions: dict[TopicPartition, int] = {}
        self.unread = 0
        self.is_complete = True

    def has_begun_again(self, broker: Broker) -> bool:
        """Return whether the topic is another one than at the last call; then it is read from its start."""
        ends = [end for _, end in broker.offsets(self._topic)]
        known = [self._positions.get(TopicPartition(self._topic, number), 0) for number in range(len(ends))]
        if all(position <= end for position, end in zip(known, ends, strict=True)):
            return False
        self._positions.clear()
        return True

    def new_records(self, broker: Broker, count: int) -> list[Record]:
        """Return up to `count` records since the last call."""
        if not self._positions:
            self._positions = last_records(broker, self._topic, self._most)
            self.is_complete = not any(self._positions.values())
        ranges = self._ranges(broker)
        with ExitStack() as stack:
            logs = [stack.enter_context(closing(_log(broker, *each))) for each in ranges]
            found = list(islice(merged(logs), count))
        for record in found:
            self._positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
        unread = sum(end - start for _, start, end in ranges) - len(found)
        self.unread = unread if len(found) == count else 0  # a log may have gaps
        return found

    def _ranges(self, broker: Broker) -> list[_Range]:
        """Return what is not read yet of each partition."""
        found = []
        for number, (first, end) in enumerate(broker.offsets(self._topic)):
            place = TopicPartition(self._topic, number)
            found.append((place, min(end, max(first, self._positions.get(place, 0))), end))
        return found


def _log(broker: Broker, place: TopicPartition, start: int, end: int) -> Generator[Record, None, None]:
    for records in read_range(broker, place, start, end):
        yield from records
