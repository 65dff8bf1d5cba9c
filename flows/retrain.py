"""The retrain flow: drift signals in; candidates out, which the learner makes challengers.

    drift ──> retrain ──> publish
              (new model on the logged features and labels since the change that ADWIN found)

Run it with `driftline run retrain`, or with `python -m bytewax.run flows.retrain`.
"""

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.core.features.plan import FeaturePlan
from flows.core.models.snapshots import Sealer
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine, entry_point
from flows.runtime.flow_io import FlowIO
from flows.runtime.steps.retraining import RetrainStep

OUTPUTS = ("models", "dead-letters")


def dataflow(pipeline: Pipeline, plan: FeaturePlan, io: FlowIO, sealer: Sealer) -> Dataflow:
    """Return the dataflow; it reads past labels and features over its own connections."""
    flow = Dataflow("retrain")
    source = io.source("retrain", [pipeline.topic("drift")])
    signals = op.input("signals", flow, source)
    candidates = op.map_value("retrain", signals, RetrainStep(pipeline, plan, sealer, io.open_broker))
    op.output("publish", candidates, io.sink(OUTPUTS))
    return flow


def build(engine: Engine) -> Dataflow:
    """Return the dataflow of one pipeline."""
    return dataflow(engine.pipeline, engine.state.plan(), engine.io, engine.sealer())


flow = entry_point(build)
