"""The learn flow: predictions and labels in; models, metrics, drift signals and dead letters out.

    predictions ─┐
    labels ──────┼──> learn ──────────────────────────────────────────> publish
    candidates ──┤    (join, evaluate, detect drift, learn, settle contests,
    commands ────┘     keep the registry)

All learning state of a pipeline is one key, so that the label join, the models, the metrics and the detectors
are in one snapshot. It refers to files for the predictions that wait long for their label, which it would
otherwise contain again in each epoch. Run it with `driftline run learn`, or with
`python -m bytewax.run flows.learn`.
"""

from collections.abc import Sequence
from functools import partial

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.adapters.bytewax.stateful import timed_stateful
from flows.core.block_store import BlockStore
from flows.core.features.plan import FeaturePlan
from flows.core.models.snapshots import Sealer
from flows.host.block_files import BlockFiles
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine, entry_point
from flows.runtime.flow_io import FlowIO
from flows.runtime.steps.learning import DeclaredLineage, LearnStep
from flows.runtime.training.lineage import code_lineage

OUTPUTS = ("models", "metrics", "drift", "learned", "registry", "dead-letters")


def dataflow(
    pipeline: Pipeline,
    plan: FeaturePlan,
    io: FlowIO,
    sealer: Sealer,
    secrets: Sequence[bytes],
    model_seconds: float,
    blocks: BlockStore,
    declared: DeclaredLineage,
) -> Dataflow:
    """Return the dataflow, which publishes models every `model_seconds` at most."""
    first, last = map(pipeline.topic, ("models", "commands")), pipeline.topic("predictions")
    topics = [*first, pipeline.labels.topic, last]

    flow = Dataflow("learn")
    records = op.input("records", flow, io.source("learn", topics))
    learned = timed_stateful(
        "learn",
        records,
        lambda state: LearnStep(pipeline, plan, io, sealer, model_seconds, secrets, declared, state, blocks),
        io.idle,
    )
    op.output("publish", learned, io.sink(OUTPUTS))
    return flow


def build(engine: Engine) -> Dataflow:
    """Return the dataflow of one pipeline."""
    plan, interval = engine.state.plan(), engine.settings.model_seconds
    blocks = BlockFiles(engine.state.blocks_dir("learn"))
    origin = partial(code_lineage, engine)
    return dataflow(
        engine.pipeline, plan, engine.io, engine.sealer(), engine.secrets, interval, blocks, origin
    )


flow = entry_point(build)
