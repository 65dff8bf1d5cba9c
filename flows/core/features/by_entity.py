"""Splits batches by entity and puts them together again, so that each entity can be a key of the dataflow."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

from flows.core.features.batch import Assembler, EntityKey, Part, Row, Splitter, Step
from flows.core.features.idle import IdleIndex
from flows.core.features.intake import Batch
from flows.core.features.plan import FeaturePlan
from flows.core.features.windows.sliding import Value
from flows.core.stream.broker import Record

_tuple = tuple.__new__  # builds a named tuple three times faster than its class does


class SplitBatch(NamedTuple):
    """A batch and the steps of each entity that it touches; `number` counts the batches of the slot."""

    number: int
    batch: Batch
    steps: list[tuple[EntityKey, list[Step]]]


class EntitySteps(NamedTuple):
    """The steps of one entity in one batch of a slot."""

    slot: str
    number: int
    key: EntityKey
    steps: list[Step]


class IdleCheck(NamedTuple):
    """Asks an entity to expire if it is idle at `time` (ms)."""

    time: int


class EntityPart(NamedTuple):
    """What one entity contributes to one batch of a slot."""

    slot: str
    number: int
    part: Part


class Vectors(NamedTuple):
    """A batch with the feature vector of each of its questions, and the rows for the stores.

    `late` counts the records that came too late for a view.
    """

    batch: Batch
    vectors: list[list[Value]]
    rows: list[Row]
    late: int


class BatchSplitter:
    """Numbers the batches of a slot and splits each by entity."""

    def __init__(self, plan: FeaturePlan) -> None:
        self._splitter = Splitter(plan)
        self._number = 0

    def __call__(self, batch: Batch) -> SplitBatch:
        """Return the batch with the steps of its entities."""
        self._number += 1
        items = [item for item in batch.items if not isinstance(item, Record)]
        return SplitBatch(self._number, batch, self._splitter.split(items))


class EntityRouter:
    """Sends each entity its steps, and an idle check to each entity that is due in `idle`."""

    def __init__(self, idle: IdleIndex) -> None:
        self._idle = idle
        self._now = 0  # the newest event time (ms)

    def __call__(self, keyed: tuple[str, SplitBatch]) -> Iterable[tuple[str, EntitySteps | IdleCheck]]:
        """Return the messages for a slot's batch, by the name of the entity."""
        slot, (number, batch, steps) = keyed
        times = [item.time for item in batch.items if not isinstance(item, Record)]
        self._now = max(self._now, *times) if times else self._now
        out: list[tuple[str, EntitySteps | IdleCheck]] = [
            (key.name, _tuple(EntitySteps, (slot, number, key, part))) for key, part in steps
        ]
        return out + [(key, IdleCheck(self._now)) for key in self._idle.due(self._now)]


class BatchGatherer:
    """Assembles the batches of one slot from the parts of their entities, in the order of the batches.

    In a cluster the parts of a batch may arrive after a later batch without parts, such as one of models
    only. A batch passes through within its epoch, so nothing is held at a snapshot.
    """

    def __init__(self, plan: FeaturePlan) -> None:
        self._assembler = Assembler(plan)
        self._batches: dict[int, SplitBatch] = {}
        self._parts: defaultdict[int, list[Part]] = defaultdict(list)

    def take(self, values: Sequence[SplitBatch | EntityPart]) -> list[Vectors]:
        """Add batches and parts; return the batches that are complete and have no incomplete one before."""
        for value in values:
            if isinstance(value, EntityPart):
                _, number, part = value
                self._parts[number].append(part)
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
        parts = self._parts.pop(number, [])
        vectors = self._assembler.assemble(len(batch.records), parts)
        rows = [row for _, _, of_part, _ in parts for row in of_part]
        return Vectors(batch, vectors, rows, sum([late for _, _, _, late in parts]))
