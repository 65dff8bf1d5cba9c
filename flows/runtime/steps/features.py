"""The steps of the predict flow up to the feature vectors."""

from collections.abc import Iterable, Sequence

import orjson

from flows.adapters.prometheus import metrics
from flows.adapters.sqlite.seed import Seed
from flows.core.features.by_shard import BatchGatherer, ShardParts, ShardSteps, SplitBatch, Vectors
from flows.core.features.entity_shard import EntityShard, Shards
from flows.core.features.intake import Batch, Intake
from flows.core.features.lookups import Lookups
from flows.core.features.plan import FeaturePlan
from flows.core.stream.broker import Record
from flows.pipeline import Pipeline


class IntakeStep:
    """Keyed by slot: decodes and validates records, and remembers the ids of events.

    Without a stored state it starts with that of the seed, for the slot of the first records.
    """

    def __init__(self, pipeline: Pipeline, plan: FeaturePlan, seed: Seed | None, state: bytes | None) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._seed = seed
        self._intake = self._restored(state) if state else None

    def take(self, values: list[tuple[str, list[Record]]]) -> list[Batch]:
        """Return a batch for each list of records."""
        with metrics.STAGE.labels("intake").time():
            intake = self._intake
            if intake is None:
                slot = int(values[0][0])
                intake = self._intake = self._restored(self._seed.intake(slot) if self._seed else None)
            return [intake.take(records) for _, records in values]

    def snapshot(self) -> bytes:
        """Return the state to store."""
        return orjson.dumps(self._intake.snapshot()) if self._intake else b""

    def _restored(self, state: bytes | None) -> Intake:
        return self._pipeline.intake(self._plan, orjson.loads(state) if state else None)


class WindowsStep(EntityShard):
    """Keyed by shard: the windows of its entities. A gauge counts the entities."""

    def __init__(self, plan: FeaturePlan, shards: Shards, seed: Seed | None, stored: bytes | None) -> None:
        super().__init__(plan, shards, seed.entity if seed else None, stored)
        self._counted = 0
        self._count()

    def take(self, values: Iterable[ShardSteps]) -> list[ShardParts]:
        """Run the steps, and return the parts of each batch."""
        parts = super().take(values)
        self._count()
        return parts

    def _count(self) -> None:
        metrics.ENTITIES.inc(len(self) - self._counted)
        self._counted = len(self)


class GatherStep(BatchGatherer):
    """Keyed by slot: assembles the feature vectors of each batch. A counter counts late records."""

    def take(self, values: Sequence[SplitBatch | ShardParts]) -> list[Vectors]:
        """Add batches and parts, and return the batches that are complete."""
        complete = super().take(values)
        metrics.LATE_RECORDS.inc(sum(batch.late for batch in complete))
        return complete


class LookUpStep:
    """Appends the features of batch views, read from the online store."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    def __call__(self, given: Vectors) -> Vectors:
        """Return the batch with its vectors extended in place."""
        with metrics.STAGE.labels("look-up").time():
            nulls = self._lookups.extend(given.batch.questions, given.vectors)
        for (view, reason), number in nulls.items():
            metrics.LOOKUPS_NULL.labels(view, reason).inc(number)
        return given
