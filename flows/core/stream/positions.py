"""Tracks how far a read-committed Kafka consumer has read and whether more can be read.

Reading ends at the last stable offset, where the oldest open transaction starts. A client knows only the high
watermark, and is notified once of each offset where reading ended. Records beyond such an offset may not be
readable yet, so they are not backlog.
"""

from collections.abc import Mapping

from flows.core.stream.broker import TopicPartition


class Positions:
    """The next offset of each partition; `start` has the initial ones, `ends` the last stable offsets."""

    def __init__(self, start: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        self.next = dict(start)  # the caller advances it
        self._ends = dict(ends)
        self._ended: dict[TopicPartition, int] = {}  # the offset where reading last ended
        self._doubted: dict[TopicPartition, int] = {}  # where the log grew beyond it since the last poll
        self._held: dict[TopicPartition, int] = {}  # where a poll confirmed that nothing is readable yet

    def ended(self, partition: TopicPartition, offset: int) -> None:
        """Record that reading ended at `offset`; the offsets up to there hold no more records to read.

        They are control records, records of aborted transactions, or were removed by compaction.
        """
        self.next[partition] = self._ended[partition] = max(self.next[partition], offset)

    def has_backlog(self, partition: TopicPartition, high: int) -> bool:
        """Return whether the log holds readable records; `high` is the high watermark, as far as it is known.

        If the log grows beyond the offset where reading ended, the new records are on their way or held back
        by a transaction. The first poll that empties the client's queue decides which.
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
        """Return how many offsets below the high watermark cannot be read yet."""
        position = self.next[partition]
        return max(0, high - position) if self._ended.get(partition) == position else 0

    def emptied(self) -> None:
        """Record that a poll emptied the client's queue: partitions in doubt are held back."""
        self._held.update(self._doubted)
        self._doubted.clear()

    def forget_end(self, partition: TopicPartition) -> None:
        """Forget where reading ended, because the fetched records were dropped and will be fetched again."""
        for known in (self._ended, self._doubted, self._held):
            known.pop(partition, None)
