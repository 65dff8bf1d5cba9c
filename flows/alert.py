"""The alert flow: drift signals in, signed webhooks out.

    drift ──> deliver ──> publish
              (Standard Webhooks, with retries; what no endpoint takes becomes a dead letter)

Run it with `driftline run alert`, or by itself with `python -m bytewax.run flows.alert`.
"""

import logging
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.adapters import telemetry
from flows.adapters.stateful import timed_stateful
from flows.adapters.webhooks import Endpoint, Outcome, Sender
from flows.core.broker import Outgoing, Record
from flows.core.cloudevents import CONTENT_TYPE, DriftSignal
from flows.core.deadletter import dead_letter
from flows.errors import InvalidRecord
from flows.wiring import Engine, drain_on_signals, engine

OUTPUTS = ("dead-letters",)

_TIMEOUT = 5.0  # seconds; a shutdown has to wait for the exchange under way

_log = logging.getLogger("driftline.alert")


def flow() -> Dataflow:
    """The dataflow of the project in the working directory, for `python -m bytewax.run flows.alert`."""
    running = engine()
    drain_on_signals(running)
    return build(running)


def build(running: Engine) -> Dataflow:
    """The dataflow of one pipeline."""
    dataflow = Dataflow("alert")
    records = op.input(
        "signals", dataflow, running.source("alert", [running.pipeline.topic("drift")], idle=0.05)
    )
    endpoint = endpoint_of(running)
    undelivered = timed_stateful("deliver", records, lambda state: _Deliver(running, endpoint, state))
    op.output("publish", undelivered, running.sink(OUTPUTS))
    return dataflow


def endpoint_of(running: Engine) -> Endpoint | None:
    """Where alerts go, if anywhere; raises `ConfigError` now for what would else fail at the first alarm."""
    settings = running.settings
    return Endpoint(settings.webhook_url, settings.webhook_secret) if settings.webhook_url else None


class _Deliver:
    """Keyed by slot: posts the signals in order, and keeps those that a shutdown interrupts."""

    def __init__(self, running: Engine, endpoint: Endpoint | None, state: bytes | None) -> None:
        self._dead_letters = running.pipeline.topic("dead-letters")
        self._sealer = running.sealer()
        self._drain = running.drain
        self._endpoint = endpoint
        private = running.settings.webhook_allow_private
        self._sender = Sender(running.drain, allow_private=private, timeout=_TIMEOUT)
        self._waiting: deque[Record] = deque(self._sealer.open_state(state) if state else ())

    def take(self, values: list[list[Record]]) -> Iterable[list[Outgoing]]:
        if self._endpoint is not None:  # without one the drift topic is the only alert
            self._waiting.extend(record for records in values for record in records)
        return self.wake()

    def due(self) -> datetime | None:
        return datetime.now(UTC) if self._waiting and not self._drain.is_set() else None

    def wake(self) -> Iterable[list[Outgoing]]:
        out: list[Outgoing] = []
        while self._endpoint is not None and self._waiting and not self._drain.is_set():
            outcome = self._deliver(self._endpoint, self._waiting[0])
            if outcome.result == "stopped":
                break
            record = self._waiting.popleft()
            telemetry.WEBHOOK_DELIVERIES.labels(outcome.result).inc()
            if not outcome.delivered:
                _log.warning("an alert was not delivered (%s): %s", outcome.result, outcome.detail)
                out.append(dead_letter(self._dead_letters, record, "undeliverable", outcome.detail))
        return [out]

    def snapshot(self) -> bytes:
        return self._sealer.seal_state(list(self._waiting))

    def _deliver(self, endpoint: Endpoint, record: Record) -> Outcome:
        body = record.value or b""
        try:
            signal = DriftSignal.from_json(body)
        except InvalidRecord as fault:
            return Outcome("rejected", 0, f"not a drift signal: {fault}")
        return self._sender.deliver(endpoint, signal.id, body, CONTENT_TYPE)
