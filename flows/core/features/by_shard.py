"""Splits batches by shard, which is a key of the dataflow, and puts them together again.

A shard has some of the entities. With a key for each entity, Bytewax would handle, and store at the end of an
epoch, each entity by itself (see docs/decisions/entity-shards.md).
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, takewhile
from typing import NamedTuple
from zlib import crc32

from flows.core.features.batch import Assembler, EntityKey, Part, Row, Splitter, Step
from flows.core.features.intake import Batch
from flows.core.features.plan import FeaturePlan
from flows.core.features.windows.sliding import Value

EntitySteps = tuple[EntityKey, list[Step]]


class SplitBatch(NamedTuple):
    """A batch, and the steps of its entities by shard; `number` counts the batches of the slot."""

    number: int
    batch: Batch
    steps: dict[int, list[EntitySteps]]


class ShardSteps(NamedTuple):
    """The steps of a shard's entities in one batch of a slot; `now` is its newest event time (ms)."""

    shard: int
    slot: str
    number: int
    now: int
    steps: list[EntitySteps]


class ShardParts(NamedTuple):
    """What a shard's entities contribute to one batch of a slot."""

    slot: str
    number: int
    parts: list[Part]


class Vectors(NamedTuple):
    """A batch with the feature vector of each of its questions, and the rows for the stores.

    `late` counts the records that came too late for a view.
    """

    batch: Batch
    vectors: list[list[Value]]
    rows: list[Row]
    late: int


def unwindowed(batch: Batch) -> Vectors:
    """Return a batch with empty vectors, which a plan without views gives."""
    return Vectors(batch, [[] for _ in batch.records], [], 0)


def shard_of(value: str | int, shards: int) -> int:
    """Return the shard of an entity by its value; part of the stored state's format.

    Kafka's client chooses the partition of a key alike. So where the records' key is the entity, its shard is
    in the process that reads the partition.

    >>> shard_of("JFK", 4), shard_of("JFK", 1)
    (3, 0)
    """
    return crc32(str(value).encode()) % shards


class BatchSplitter:
    """Numbers the batches of a slot and splits each by shard."""

    def __init__(self, plan: FeaturePlan, shards: int) -> None:
        self._splitter = Splitter(plan)
        self._shards = shards
        self._number = 0

    def __call__(self, batch: Batch) -> SplitBatch:
        """Return the batch with the steps of its entities."""
        self._number += 1
        return SplitBatch(self._number, batch, self._by_shard(self._splitter.split(batch.items)))

    def _by_shard(self, steps: list[EntitySteps]) -> dict[int, list[EntitySteps]]:
        if self._shards == 1:
            return {0: steps} if steps else {}
        by_shard = defaultdict(list)
        for step in steps:
            by_shard[shard_of(step[0].value, self._shards)].append(step)
        return dict(by_shard)


def steps_by_shard(slot: str, split: SplitBatch) -> list[ShardSteps]:
    """Return the messages for the shards that a slot's batch touches."""
    number, batch, by_shard = split
    return [ShardSteps(shard, slot, number, batch.newest, steps) for shard, steps in by_shard.items()]


class BatchGatherer:
    """Assembles the batches of one slot from the parts of the shards, in the order of the batches.

    In a cluster the parts of a batch may arrive after a later batch without parts, such as one of models
    only. A batch passes through within its epoch, so nothing is held at a snapshot.
    """

    def __init__(self, plan: FeaturePlan) -> None:
        self._assembler = Assembler(plan)
        self._batches: dict[int, SplitBatch] = {}
        self._parts: defaultdict[int, list[list[Part]]] = defaultdict(list)

    def take(self, values: Sequence[SplitBatch | ShardParts]) -> list[Vectors]:
        """Add batches and parts; return the batches that are complete and have no incomplete one before."""
        for value in values:
            if isinstance(value, ShardParts):
                self._parts[value.number].append(value.parts)
            else:
                self._batches[value.number] = value
        return [self._assemble(number) for number in takewhile(self._is_complete, sorted(self._batches))]

    def snapshot(self) -> bytes:
        """Return the state, which is empty."""
        return b""

    def _is_complete(self, number: int) -> bool:
        return len(self._parts.get(number, ())) == len(self._batches[number].steps)

    def _assemble(self, number: int) -> Vectors:
        batch = self._batches.pop(number).batch
        parts = [*chain.from_iterable(self._parts.pop(number, ()))]
        vectors = self._assembler.assemble(len(batch.records), parts)
        rows = [row for _, _, of_part, _ in parts for row in of_part]
        return Vectors(batch, vectors, rows, sum([late for _, _, _, late in parts]))
