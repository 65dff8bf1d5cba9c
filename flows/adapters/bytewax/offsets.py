"""Offsets as Bytewax's recovery store keeps them."""

from collections.abc import Mapping

from flows.core.stream.broker import Broker, TopicPartition

Offsets = dict[str, int]  # "topic/partition" to the next offset; the format of the stored state


def to_stored(offsets: Mapping[TopicPartition, int]) -> Offsets:
    """Return `offsets` as they are stored.

    >>> to_stored({TopicPartition("flights", 0): 17})
    {'flights/0': 17}
    """
    return {f"{partition.topic}/{partition.partition}": offset for partition, offset in offsets.items()}


def start_offset(broker: Broker, partition: TopicPartition, stored: Mapping[str, int]) -> int:
    """Return the stored offset of a partition, by default that of its oldest record."""
    offset = stored.get(f"{partition.topic}/{partition.partition}")
    if offset is not None:
        return offset
    earliest, _ = broker.offsets(partition.topic)[partition.partition]
    return earliest
