"""The alert flow: drift signals in, signed webhooks out.

    drift ──> deliver ──> publish
              (Standard Webhooks, an outbox for each endpoint; what one does not take becomes a dead letter)

Run it with `driftline run alert`, or by itself with `python -m bytewax.run flows.alert`.
"""

import logging
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.adapters.bytewax.stateful import timed_stateful
from flows.adapters.http.webhooks import Endpoint, Exchange, Message, Sender
from flows.adapters.prometheus import metrics as telemetry
from flows.core.alerting import alertmanager
from flows.core.alerting.outbox import AlertFilter, EndedDelivery, Outbox, WebhookResponse
from flows.core.drift.levels import DriftKind
from flows.core.drift.signal import CONTENT_TYPE, DriftSignal, Severity
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter
from flows.errors import ConfigError, InvalidRecord
from flows.runtime.engine import Engine, drain_on_signals, engine
from flows.settings import WebhookSettings, webhook_variable

OUTPUTS = ("dead-letters",)

TIMEOUT = 5.0  # seconds; a shutdown has to wait for the exchanges under way
_LOOK_EVERY = 0.02  # seconds between looks at the exchanges under way

_BEGAN = time.time() - time.monotonic()

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
    targets = targets_of(running)
    for target in targets:
        telemetry.WEBHOOK_DISABLED.labels(target.endpoint.name).set(0)
    undelivered = timed_stateful("deliver", records, lambda state: _Deliver(running, targets, state))
    op.output("publish", undelivered, running.sink(OUTPUTS))
    return dataflow


class Target(NamedTuple):
    """An endpoint, which alerts it wants, and how."""

    endpoint: Endpoint
    wants: AlertFilter
    alertmanager: bool

    def message(self, signal: DriftSignal, body: bytes) -> Message:
        """What is posted for the signal that stands on the topic as `body`."""
        if self.alertmanager:
            headers = alertmanager.headers(signal)
            return Message(signal.id, alertmanager.body(signal), alertmanager.CONTENT_TYPE, headers)
        return Message(signal.id, body, CONTENT_TYPE)


def targets_of(running: Engine) -> list[Target]:
    """Where alerts go, if anywhere; raises `ConfigError` now for what would else fail at the first alarm."""
    return [_target(webhook, running.project.pipelines) for webhook in running.settings.webhooks]


def _target(webhook: WebhookSettings, pipelines: Iterable[str]) -> Target:
    wants = AlertFilter(webhook.pipelines, webhook.kinds, webhook.severities)
    for field, chosen, known in (
        ("PIPELINES", wants.pipelines, pipelines),
        ("KINDS", wants.kinds, get_args(DriftKind)),
        ("SEVERITIES", wants.severities, get_args(Severity)),
        ("FORMAT", {webhook.format}, ("cloudevents", "alertmanager")),
    ):
        if unknown := sorted(set(chosen) - set(known)):
            variable = webhook_variable(webhook.name, field)
            raise ConfigError(f"{variable}: there is no {unknown[0]!r}; choose among {', '.join(known)}")
    endpoint = Endpoint(webhook.url, webhook.secret, webhook.name)
    return Target(endpoint, wants, webhook.format == "alertmanager")


class _Deliver:
    """Keyed by slot: posts the signals to each endpoint, and keeps those whose delivery is not over.

    The state has an outbox for each endpoint's name, with the fingerprint of its settings.
    """

    def __init__(self, running: Engine, targets: Sequence[Target], state: bytes | None) -> None:
        self._dead_letters = running.pipeline.topic("dead-letters")
        self._sealer = running.sealer()
        self._drain = running.drain
        sender = Sender(allow_private=running.settings.webhook_allow_private, timeout=TIMEOUT)
        stored: dict[str, Any] = self._sealer.open_state(state) if state else {}
        self._couriers = [
            _Courier(target, sender, stored.pop(target.endpoint.name, None)) for target in targets
        ]
        self._ended = [  # of endpoints that are no longer set
            (name, EndedDelivery(record, "gone", "the endpoint is no longer set"))
            for name, (_, outbox) in stored.items()
            for record in Outbox(state=outbox).waiting
        ]

    def take(self, values: list[list[Record]]) -> Iterable[list[Outgoing]]:
        out: list[Outgoing] = []
        if self._couriers:  # without one the drift topic is the only alert
            for records in values:
                for record in records:
                    out += self._put(record)
        return [out, *self.wake()]

    def due(self) -> datetime | None:
        if self._drain.is_set():
            return None
        if self._ended:
            return datetime.now(UTC)
        moments = [moment for courier in self._couriers if (moment := courier.due()) is not None]
        return datetime.fromtimestamp(min(moments), UTC) if moments else None

    def wake(self) -> Iterable[list[Outgoing]]:
        ended, self._ended = self._ended, []
        for courier in self._couriers:
            ended += [(courier.name, each) for each in courier.go_on(self._drain.is_set())]
        return [[letter for name, each in ended for letter in self._end(name, each)]]

    def snapshot(self) -> bytes:
        return self._sealer.seal_state({courier.name: courier.state() for courier in self._couriers})

    def _put(self, record: Record) -> Iterator[Outgoing]:
        try:
            signal = DriftSignal.from_json(record.value or b"")
        except InvalidRecord as fault:
            detail = f"not a drift signal: {fault}"
            _log.warning("a record of the drift topic was not posted: %s", detail)
            yield dead_letter(self._dead_letters, record, "undeliverable", detail)
            return
        for courier in self._couriers:
            if courier.wants(signal):
                self._ended += [(courier.name, each) for each in courier.put(record)]

    def _end(self, name: str, ended: EndedDelivery) -> Iterator[Outgoing]:
        telemetry.WEBHOOK_DELIVERIES.labels(name, ended.result).inc()
        if ended.result != "delivered":
            _log.warning("an alert was not delivered to %s (%s): %s", name, ended.result, ended.detail)
            letter = dead_letter(self._dead_letters, ended.record, "undeliverable", ended.detail, name)
            yield letter._replace(headers=(*letter.headers, ("endpoint", name.encode())))


class _Courier:
    """Carries the alerts of one outbox to its endpoint, without waiting for it."""

    def __init__(self, target: Target, sender: Sender, stored: tuple[str, Any] | None) -> None:
        self._target = target
        self._sender = sender
        self._outbox = _outbox(target.endpoint, stored)
        self._exchange: Exchange | None = None
        if self._outbox.disabled:
            self._tell_disabled()

    @property
    def name(self) -> str:
        return self._target.endpoint.name

    def wants(self, signal: DriftSignal) -> bool:
        return self._target.wants.takes(signal)

    def put(self, record: Record) -> list[EndedDelivery]:
        return self._outbox.put([record])

    def due(self) -> float | None:
        """When to go on (seconds since 1970, by the wall clock, as Bytewax's timers are)."""
        if self._exchange:
            return time.time() + _LOOK_EVERY
        due = self._outbox.due()
        return None if due is None else time.time() + due - _now()

    def go_on(self, draining: bool) -> list[EndedDelivery]:
        """See what came of the attempt under way, and begin the next when its time has come.

        While draining none is begun, and that under way is waited for, lest it be repeated.
        """
        answer = self._exchange.answer(TIMEOUT if draining else 0.0) if self._exchange else None
        ended = [] if answer is None else self._answered(answer)
        if self._exchange is None and not draining:
            ended += self._begin()
        return ended

    def state(self) -> tuple[str, Any]:
        return self._target.endpoint.fingerprint, self._outbox.state()

    def _answered(self, answer: WebhookResponse) -> list[EndedDelivery]:
        self._exchange = None
        ended = self._outbox.answered(answer, _now(), random.random())  # noqa: S311 (spreads load)
        if self._outbox.disabled:
            self._tell_disabled()
        return ended

    def _begin(self) -> list[EndedDelivery]:
        """Begin an attempt if it is time; what another version has stored may have to end instead."""
        record = self._outbox.next(_now())
        if record is None:
            return []
        body = record.value or b""
        try:
            message = self._target.message(DriftSignal.from_json(body), body)
        except InvalidRecord as fault:
            return self._answered(WebhookResponse("rejected", f"not a drift signal: {fault}"))
        self._exchange = self._sender.begin(self._target.endpoint, message, self._outbox.attempts)
        return []

    def _tell_disabled(self) -> None:
        telemetry.WEBHOOK_DISABLED.labels(self.name).set(1)
        _log.warning(
            "the webhook endpoint %s (%s) answered 410 and is disabled until its URL or secret changes",
            self.name,
            self._target.endpoint,
        )


def _now() -> float:
    """Seconds since 1970 by a clock that nobody sets back while the flow runs, for the pauses of outboxes."""
    return _BEGAN + time.monotonic()


def _outbox(endpoint: Endpoint, stored: tuple[str, Any] | None) -> Outbox:
    """The outbox as it was stored; after a change of the settings the endpoint begins with a clean sheet."""
    if stored is None:
        return Outbox()
    fingerprint, state = stored
    return Outbox(state=state if fingerprint == endpoint.fingerprint else Outbox.after_change(state))
