"""Batches of the embedded log: consecutive records of one partition as one blob.

One row for each batch, not for each record, because a row costs more than the record in it.
"""

from collections.abc import Iterator, Sequence
from itertools import count, repeat
from operator import attrgetter

import msgspec

from flows.core.stream.broker import Headers, Outgoing, Record, TopicPartition

RECORDS = 128  # the most records in a batch: a poll that ends within one unpacks it again
BYTES = 2**20  # a batch ends with the value that reaches this size

_Columns = tuple[list[int], list[bytes | None], list[bytes | None], list[Headers]]

_columns = attrgetter("timestamp", "key", "value", "headers")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Columns)
_new = tuple.__new__  # builds a named tuple three times faster than its class does


def split(records: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """Yield the records in batches, in order.

    >>> [len(batch) for batch in split([Outgoing("t", b"")] * 300)]
    [128, 128, 44]
    """
    start = size = 0
    for end, record in enumerate(records, 1):
        size += len(record.value or b"")
        if size >= BYTES or end - start == RECORDS:
            yield records[start:end]
            start, size = end, 0
    if start < len(records):
        yield records[start:]


def pack(records: Sequence[Outgoing], now: int) -> tuple[int, bytes]:
    """Return the newest timestamp (ms) and the blob of a batch; `now` is for records without a timestamp."""
    timestamps, keys, values, headers = zip(*map(_columns, records), strict=True)
    timestamps = tuple(now if timestamp is None else timestamp for timestamp in timestamps)
    return max(timestamps), _encoder.encode((timestamps, keys, values, headers))


def unpack(partition: TopicPartition, first: int, packed: bytes) -> list[Record]:
    """Return the records of a batch whose first offset is `first`.

    >>> sent = Outgoing("t", b"1", timestamp=5, headers=(("empty", b""), ("null", None)))
    >>> unpack(TopicPartition("t", 0), 7, pack([sent], now=0)[1])
    [Record(topic='t', partition=0, offset=7, timestamp=5, key=None, value=b'1', \
headers=(('empty', b''), ('null', None)))]
    """
    topic, number = partition
    fields = zip(repeat(topic), repeat(number), count(first), *_decoder.decode(packed))
    return list(map(_new, repeat(Record), fields))


def offset_since(first: int, packed: bytes, timestamp: int) -> int:
    """Return the first offset at or after `timestamp` (ms) in a batch that has one."""
    timestamps = _decoder.decode(packed)[0]
    return first + next(at for at, each in enumerate(timestamps) if each >= timestamp)
