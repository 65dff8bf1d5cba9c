"""Reads a topic from its last records on, what is new at each call."""

from collections.abc import Iterator

from flows.core.stream.broker import Broker, Record, TopicPartition, read_range
from flows.serve.follower import tail_starts


class TailReader:
    """Yields each record of a topic once, but at most the last `most` of each partition at a call."""

    def __init__(self, topic: str, most: int) -> None:
        self._topic = topic
        self._most = most
        self._positions: dict[TopicPartition, int] = {}

    def new_records(self, broker: Broker) -> Iterator[Record]:
        """Yield the records since the last call."""
        bounds = broker.offsets(self._topic)
        starts = tail_starts(self._topic, bounds, self._most)
        for (place, earliest), (_, end) in zip(starts.items(), bounds, strict=True):
            known = self._positions.get(place, 0)
            start = max(known if known <= end else 0, earliest)  # the topic may be a new one
            for records in read_range(broker, place, start, end):
                yield from records
                self._positions[place] = records[-1].offset + 1
