"""The predict flow: events and feature sources in; predictions, feature rows and dead letters out.

    records ──> intake ──> split by entity ──> windows ──> assemble ──> predict ──> publish
              (decode,     (one key per      (Feast's     (vectors)   (champion
               validate)   shard of them)   aggregates)               and shadows)

A batch of records is one item up to the split. Each shard then gets the steps of its entities, in the order
of the batch, and `assemble` joins the parts. If the plan has batch views, another step reads them from
Feast's online store. Run it with `driftline run predict`, or with `python -m bytewax.run flows.predict`.
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from flows.adapters.bytewax.routing import slot_key
from flows.adapters.bytewax.stateful import stateful
from flows.adapters.feast.feature_stores import FeatureStores
from flows.adapters.sqlite.seed import Seed
from flows.core.features.by_shard import (
    BatchSplitter,
    ShardParts,
    ShardSteps,
    SplitBatch,
    Vectors,
    steps_by_shard,
    unwindowed,
)
from flows.core.features.entity_shard import Shards
from flows.core.features.intake import Batch
from flows.core.features.plan import FeaturePlan
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Record
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine, entry_point
from flows.runtime.flow_io import FlowIO
from flows.runtime.steps.features import GatherStep, IntakeStep, LookUpStep, WindowsStep
from flows.runtime.steps.scoring import PredictStep

OUTPUTS = ("predictions", "features", "dead-letters")
_PACE_OF_RECORD = 0.001  # seconds: shorter after a few records, since somebody may wait for the next answer


def dataflow(
    pipeline: Pipeline,
    plan: FeaturePlan,
    io: FlowIO,
    sealer: Sealer,
    stores: FeatureStores,
    shards: Shards,
    seed: Seed | None = None,
) -> Dataflow:
    """Return the dataflow; without a stored state it starts with that of the `seed`."""
    topics = [stream.topic for stream in pipeline.feature_streams]
    start = seed.offsets if seed else {}

    flow = Dataflow("predict")
    source = io.source(
        "predict", topics, [pipeline.topic("models")], start=start, pace_of_record=_PACE_OF_RECORD
    )
    records = op.map("with_slot", op.input("records", flow, source), _with_slot)
    batches = stateful("intake", records, lambda state: IntakeStep(pipeline, plan, seed, state))
    if plan.views:
        vectors = _windowed(batches, plan, shards, seed)
    else:
        vectors = op.map_value("assemble", batches, unwindowed)
    if plan.lookups:
        vectors = op.map_value("look_up", vectors, LookUpStep(stores.lookups(plan)))
    predictions = stateful("predict", vectors, lambda state: PredictStep(pipeline, plan, sealer, state))
    op.output("publish", predictions, io.sink(OUTPUTS))
    return flow


def _windowed(
    batches: KeyedStream[Batch], plan: FeaturePlan, shards: Shards, seed: Seed | None
) -> KeyedStream[Vectors]:
    """Return the vectors of the batches, from the windows of their entities."""
    split = op.map_value("split", batches, BatchSplitter(plan, shards.number))
    steps = op.flat_map("by_shard", split, _by_shard)
    parts = stateful("windows", steps, lambda state: WindowsStep(plan, shards, seed, state))
    gathered = op.merge("gather", split, op.map("by_slot", parts, _by_slot))
    return stateful("assemble", gathered, lambda _: GatherStep(plan))


def _with_slot(keyed: tuple[str, list[Record]]) -> tuple[str, tuple[str, list[Record]]]:
    return slot_key(keyed[0]), keyed


def _by_shard(keyed: tuple[str, SplitBatch]) -> list[tuple[str, ShardSteps]]:
    return [(slot_key(str(steps.shard)), steps) for steps in steps_by_shard(*keyed)]


def _by_slot(keyed: tuple[str, ShardParts]) -> tuple[str, ShardParts]:
    return keyed[1].slot, keyed[1]


def build(engine: Engine) -> Dataflow:
    """Return the dataflow of one pipeline."""
    pipeline, plan = engine.pipeline, engine.state.plan()
    seed = engine.state.seed(plan, pipeline.partitions)
    shards = engine.state.shards(pipeline.partitions)
    return dataflow(pipeline, plan, engine.io, engine.sealer(), engine.stores, shards, seed)


flow = entry_point(build)
