"""How far a read-committed consumer of Kafka has read, and whether its partitions have more to give.

Reading ends at the last stable offset, where the oldest open transaction begins. A client knows only the high
watermark, and hears once of each offset where reading ended. So behind such an offset the log may hold
records that cannot be read yet; they are no backlog.
"""

from collections.abc import Mapping

from flows.core.stream.broker import TopicPartition


class Positions:
    """The next offsets of the partitions, which `start` has; `ends` has the last stable offsets at first."""

    def __init__(self, start: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        self.next = dict(start)  # advanced by who accepts the records
        self._ends = dict(ends)
        self._ended: dict[TopicPartition, int] = {}  # the offset where reading ended last
        self._doubted: dict[TopicPartition, int] = {}  # behind it the log is longer, since the last poll
        self._held: dict[TopicPartition, int] = {}  # nothing came of that: the records cannot be read yet

    def ended(self, partition: TopicPartition, offset: int) -> None:
        """Reading ended at `offset`: what is between there and the last record is never given.

        That is control records, records of aborted transactions, and what compaction removed.
        """
        self.next[partition] = self._ended[partition] = max(self.next[partition], offset)

    def has_backlog(self, partition: TopicPartition, high: int) -> bool:
        """Whether the log holds records to give; `high` is its high watermark, as far as that is known.

        Where reading has ended and the log grows, the records are on their way or held back by a transaction.
        The first poll that empties the client's queue tells.
        """
        position = self.next[partition]
        if position >= high and position >= self._ends[partition]:
            return False
        if self._ended.get(partition) != position:
            return True
        if self._held.get(partition) == position:
            return False
        self._doubted[partition] = position
        return True

    def held_back(self, partition: TopicPartition, high: int) -> int:
        """How many offsets below the high watermark cannot be read yet."""
        position = self.next[partition]
        return max(0, high - position) if self._ended.get(partition) == position else 0

    def emptied(self) -> None:
        """A poll took all that the client had fetched, so what was doubted before it is known now."""
        self._held.update(self._doubted)
        self._doubted.clear()

    def forget_end(self, partition: TopicPartition) -> None:
        """What was fetched is thrown away and fetched again; the end will be reported again."""
        for known in (self._ended, self._doubted, self._held):
            known.pop(partition, None)
