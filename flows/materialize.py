"""The materialize flow: feature rows and predictions in, Feast's online and offline stores written.

    features ──────┬──> decode ──┬──> stores
    predictions ───┘             │    (online: the newest row of each entity;
                                 │     offline: all rows, and the features served, as parquet parts)
                                 └──> publish (dead letters for records that the engine did not write)

A store that is unavailable stalls the flow: a batch is retried until it is written, and only then may its
epoch close. Run it with `driftline run materialize`, or with `python -m bytewax.run flows.materialize`.
"""

from dataclasses import replace

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.adapters.feast.feature_stores import FeatureStores
from flows.core.features.plan import FeaturePlan
from flows.core.stream.broker import Outgoing
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine, entry_point
from flows.runtime.flow_io import FlowIO
from flows.runtime.steps.materializing import DecodeStep, StoreBatch, StoreSink

OUTPUTS = ("dead-letters",)

_PACE = 0.6  # seconds between batches: few and large writes, well within the promised second
_BATCHES = 5  # batches of the usual size read as one, so that a backlog is written in few and large writes


def dataflow(pipeline: Pipeline, plan: FeaturePlan, io: FlowIO, stores: FeatureStores) -> Dataflow:
    """Return the dataflow."""
    topics = [pipeline.topic(kind) for kind in ("features", "predictions")]
    large = replace(io, batch=_BATCHES * io.batch)

    flow = Dataflow("materialize")
    records = op.input("records", flow, large.source("materialize", topics, pace=_PACE))
    batches = op.map_value("decode", records, DecodeStep(pipeline, plan))
    op.output("stores", op.map("of_all", batches, _batch_of), StoreSink(plan, stores, io.drain))
    op.output("publish", op.map_value("dead", batches, _dead_of), io.sink(OUTPUTS))
    return flow


def _batch_of(keyed: tuple[str, StoreBatch]) -> StoreBatch:
    return keyed[1]


def _dead_of(batch: StoreBatch) -> list[Outgoing]:
    return batch.dead


def build(engine: Engine) -> Dataflow:
    """Return the dataflow of one pipeline."""
    return dataflow(engine.pipeline, engine.state.plan(), engine.io, engine.stores)


flow = entry_point(build)
