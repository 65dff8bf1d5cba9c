"""The retrain flow: drift signals, commands and metrics in; candidates for challengers out.

    drift ─────┐
    registry ──┼──> retrain ──> publish
    metrics ───┘    (a trainer in another process: models on the logged features and labels)

The registry has the trainings that a person asked for. The metrics are read if a schedule, a floor or a
first search is declared. All triggers of a pipeline are one key, so that one trains at a time. Run it with
`driftline run retrain`, or with `python -m bytewax.run flows.retrain`.
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.adapters.bytewax.stateful import timed_stateful
from flows.core.models.snapshots import Sealer
from flows.core.registry.entry import EntrySealer
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine, entry_point
from flows.runtime.flow_io import FlowIO
from flows.runtime.steps.retraining import RetrainStep
from flows.runtime.training.messages import TrainerPlace

OUTPUTS = ("models", "dead-letters")


def dataflow(
    pipeline: Pipeline, io: FlowIO, sealer: Sealer, entries: EntrySealer, place: TrainerPlace
) -> Dataflow:
    """Return the dataflow; its trainers start from `place`."""
    topics = [pipeline.topic("drift"), pipeline.topic("registry")]
    if pipeline.retrain.reads_metrics:
        topics.append(pipeline.topic("metrics"))

    flow = Dataflow("retrain")
    signals = op.input("signals", flow, io.source("retrain", topics))
    candidates = timed_stateful(
        "retrain",
        signals,
        lambda state: RetrainStep(pipeline, place, sealer, entries, io.drain, state),
        io.idle,
    )
    op.output("publish", candidates, io.sink(OUTPUTS))
    return flow


def build(engine: Engine) -> Dataflow:
    """Return the dataflow of one pipeline."""
    place = TrainerPlace(engine.project.directory, engine.settings, engine.pipeline.name)
    entries = EntrySealer(engine.pipeline.name, engine.secrets)
    return dataflow(engine.pipeline, engine.io, engine.sealer(), entries, place)


flow = entry_point(build)
