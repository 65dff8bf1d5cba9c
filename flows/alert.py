"""The alert flow: drift signals in; signed webhooks out.

    drift ──> deliver ──> publish
              (Standard Webhooks, an outbox per endpoint; an undeliverable alert becomes a dead letter)

Run it with `driftline run alert`, or with `python -m bytewax.run flows.alert`.
"""

from collections.abc import Sequence

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.adapters.bytewax.stateful import timed_stateful
from flows.adapters.http.webhooks import Sender
from flows.adapters.prometheus import metrics
from flows.core.models.snapshots import Sealer
from flows.pipeline import Pipeline
from flows.runtime.engine import Engine, entry_point
from flows.runtime.flow_io import FlowIO
from flows.runtime.steps.delivery import DeliverStep
from flows.runtime.webhook_targets import WebhookTarget, webhook_sender, webhook_targets

OUTPUTS = ("dead-letters",)


def dataflow(
    pipeline: Pipeline, io: FlowIO, sealer: Sealer, targets: Sequence[WebhookTarget], sender: Sender
) -> Dataflow:
    """Return the dataflow."""
    dead_letters = pipeline.topic("dead-letters")

    for target in targets:
        metrics.endpoint_added(target.endpoint.name)

    flow = Dataflow("alert")
    signals = op.input("signals", flow, io.source("alert", [pipeline.topic("drift")]))
    undelivered = timed_stateful(
        "deliver",
        signals,
        lambda state: DeliverStep(targets, sender, sealer, io.drain, dead_letters, state),
        io.idle,
    )
    op.output("publish", undelivered, io.sink(OUTPUTS))
    return flow


def build(engine: Engine) -> Dataflow:
    """Return the dataflow of one pipeline; raises `ConfigError` for endpoints that are set wrongly."""
    targets = webhook_targets(engine.settings.webhooks, engine.project.pipelines)
    sender = webhook_sender(engine.settings)
    return dataflow(engine.pipeline, engine.io, engine.sealer(), targets, sender)


flow = entry_point(build)
