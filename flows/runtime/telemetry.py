"""Exports what the sources and sinks of this process do as metrics."""

import logging

from flows.adapters.prometheus import metrics
from flows.core.stream.broker import TopicPartition

_log = logging.getLogger("driftline.topics")


class Telemetry:
    """The observer of a flow's source and sink (see `FlowObserver`).

    `has_partitions` says that the flow is ready, `has_grown` that it has to be restarted for new partitions.
    """

    read = staticmethod(metrics.records_read)
    lag = staticmethod(metrics.lag)
    written = staticmethod(metrics.records_written)

    def __init__(self) -> None:
        self.has_partitions = False
        self.has_grown = False
        self._held: dict[TopicPartition, tuple[int, int]] = {}  # last stable offset, reports of it in a row

    def assigned(self) -> None:
        """Note that the source has its partitions."""
        self.has_partitions = True

    def held_back(self, partition: TopicPartition, offset: int, records: int) -> None:
        """Export what an open transaction holds back; warn when two reports in a row have the same offset."""
        metrics.held_back(partition, records)
        before, reports = self._held.pop(partition, (offset, 0))
        if not records:
            return
        reports = reports + 1 if before == offset else 1
        self._held[partition] = offset, reports
        if reports == 2:
            _log.warning(
                "%s records of topic %r, partition %d, cannot be read: a transaction is open since offset "
                "%d, the last stable one; the flow continues without them until the transaction ends",
                f"{records:,}",
                *partition,
                offset,
            )

    def grown(self, topic: str, partitions: int) -> None:
        """Note that a topic has new partitions, and warn once; several slots report it."""
        if self.has_grown:
            return
        self.has_grown = True
        _log.warning(
            "topic %r now has %d partitions, more than at the start of the flow; the flow ends, to be "
            "restarted with all of them",
            topic,
            partitions,
        )
