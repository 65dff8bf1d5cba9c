"""The interface through which a source and a sink report what they do."""

from collections.abc import Sequence
from typing import Protocol

from flows.core.stream.broker import Outgoing, Record, TopicPartition


class FlowObserver(Protocol):
    """Receives the events of a flow's source and sink."""

    def assigned(self) -> None:
        """The source has its partitions."""

    def read(self, records: Sequence[Record]) -> None:
        """The source emitted a batch."""

    def lag(self, partition: TopicPartition, records: int) -> None:
        """The partition has `records` records that the flow has not read."""

    def held_back(self, partition: TopicPartition, offset: int, records: int) -> None:
        """An open transaction holds back `records` records from `offset` on; 0 if there is none."""

    def grown(self, topic: str, partitions: int) -> None:
        """A topic has more partitions, `partitions`, than the flow reads; the flow ends, to be restarted."""

    def written(self, records: Sequence[Outgoing]) -> None:
        """The broker acknowledged a batch of the sink."""
