"""The predict flow: events and feature sources in; predictions, feature rows and dead letters out.

    records ──> intake ──> split by entity ──> windows ──> assemble ──> predict ──> publish
              (decode,      (one key per       (Feast's     (vectors)   (champion
               validate)      entity)         aggregates)               and shadows)

A batch of records is one item up to the split. Each entity that it touches then gets its part, in the order
of the batch, and `assemble` joins the parts. If the plan has batch views, another step reads them from
Feast's online store. Run it with `driftline run predict`, or with `python -m bytewax.run flows.predict`.
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.adapters.bytewax.routing import slot_key
from flows.adapters.bytewax.stateful import expiring_stateful, stateful
from flows.adapters.feast.feature_stores import FeatureStores
from flows.adapters.sqlite.seed import Seed
from flows.core.features.by_entity import BatchSplitter, EntityPart, EntityRouter
from flows.core.features.idle import IdleIndex
from flows.core.features.plan import FeaturePlan
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Record
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine, entry_point
from flows.runtime.flow_io import FlowIO
from flows.runtime.steps.features import GatherStep, IntakeStep, LookUpStep, WindowsStep
from flows.runtime.steps.scoring import PredictStep

OUTPUTS = ("predictions", "features", "dead-letters")


def dataflow(
    pipeline: Pipeline,
    plan: FeaturePlan,
    io: FlowIO,
    sealer: Sealer,
    stores: FeatureStores,
    seed: Seed | None = None,
) -> Dataflow:
    """Return the dataflow; without a stored state it starts with that of the `seed`."""
    topics = [stream.topic for stream in pipeline.feature_streams]
    start = seed.offsets if seed else {}
    idle = IdleIndex(plan.lateness)

    flow = Dataflow("predict")
    source = io.source("predict", topics, [pipeline.topic("models")], start=start)
    records = op.map("with_slot", op.input("records", flow, source), _with_slot)
    batches = stateful("intake", records, lambda state: IntakeStep(pipeline, plan, seed, state))
    split = op.map_value("split", batches, BatchSplitter(plan))
    steps = op.flat_map("by_entity", split, EntityRouter(idle))
    parts = expiring_stateful("windows", steps, lambda state: WindowsStep(plan, idle, seed, state))
    gathered = op.merge("gather", split, op.map("by_slot", parts, _by_slot))
    vectors = stateful("assemble", gathered, lambda _: GatherStep(plan))
    if plan.lookups:
        vectors = op.map_value("look_up", vectors, LookUpStep(stores.lookups(plan)))
    predictions = stateful("predict", vectors, lambda state: PredictStep(pipeline, plan, sealer, state))
    op.output("publish", predictions, io.sink(OUTPUTS))
    return flow


def _with_slot(keyed: tuple[str, list[Record]]) -> tuple[str, tuple[str, list[Record]]]:
    return slot_key(keyed[0]), keyed


def _by_slot(keyed: tuple[str, EntityPart]) -> tuple[str, EntityPart]:
    return keyed[1].slot, keyed[1]


def build(engine: Engine) -> Dataflow:
    """Return the dataflow of one pipeline."""
    pipeline, plan = engine.pipeline, engine.state.plan()
    seed = engine.state.seed(plan, pipeline.partitions)
    return dataflow(pipeline, plan, engine.io, engine.sealer(), engine.stores, seed)


flow = entry_point(build)
