"""Delivers the alerts of one endpoint without blocking the flow."""

import logging
import random
import time
from typing import NamedTuple

from flows.adapters.http.webhooks import Endpoint, Exchange, Sender
from flows.adapters.prometheus import metrics
from flows.core.alerting.outbox import EndedDelivery, Outbox, OutboxState, WebhookResponse
from flows.core.drift.signal import DriftSignal
from flows.core.stream.broker import Record
from flows.errors import InvalidRecord
from flows.runtime.webhook_targets import TIMEOUT, WebhookTarget

_POLL = 0.02  # seconds between polls of an attempt in progress
_STARTED = time.time() - time.monotonic()

_log = logging.getLogger("driftline.alert")


class CourierState(NamedTuple):
    """The stored state of an endpoint: the fingerprint of its settings, and its outbox."""

    fingerprint: str
    outbox: OutboxState


class Courier:
    """Posts the alerts of one endpoint, one attempt at a time."""

    def __init__(self, target: WebhookTarget, sender: Sender, stored: CourierState | None) -> None:
        self._target = target
        self._sender = sender
        self._outbox = _outbox(target.endpoint, stored)
        self._exchange: Exchange | None = None
        self._show_failures()
        if self._outbox.disabled:
            self._show_disabled()

    @property
    def name(self) -> str:
        """The name of the endpoint."""
        return self._target.endpoint.name

    def wants(self, signal: DriftSignal) -> bool:
        """Return whether the endpoint gets the signal."""
        return self._target.wants.matches(signal)

    def put(self, record: Record) -> list[EndedDelivery]:
        """Add an alert; return the alerts that end at once."""
        return self._outbox.put([record])

    def due(self) -> float | None:
        """Return when to proceed, None if no alert waits.

        In seconds since 1970 by the wall clock, which Bytewax's timers follow.
        """
        if self._exchange:
            return time.time() + _POLL
        due = self._outbox.due()
        return None if due is None else time.time() + due - _now()

    def proceed(self) -> list[EndedDelivery]:
        """Handle the answer to the attempt in progress, and begin the next one if it is time.

        Returns the alerts that ended.
        """
        ended = self._collect(wait=0.0)
        if self._exchange is None:
            ended += self._begin()
        return ended

    def finish(self) -> list[EndedDelivery]:
        """Wait for the attempt in progress, so that it is not repeated; return the alerts that ended."""
        return self._collect(wait=TIMEOUT)

    def state(self) -> CourierState:
        """Return the state to store."""
        return CourierState(self._target.endpoint.fingerprint, self._outbox.state())

    def _collect(self, wait: float) -> list[EndedDelivery]:
        answer = self._exchange.answer(wait) if self._exchange else None
        return [] if answer is None else self._answered(answer)

    def _answered(self, answer: WebhookResponse) -> list[EndedDelivery]:
        self._exchange = None
        ended = self._outbox.answered(answer, _now(), random.random())  # noqa: S311 (spreads load)
        self._show_failures()
        if self._outbox.disabled:
            self._show_disabled()
        return ended

    def _begin(self) -> list[EndedDelivery]:
        """Begin an attempt if one is due; an alert that this version cannot read ends as rejected."""
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

    def _show_failures(self) -> None:
        metrics.WEBHOOK_FAILURES.labels(self.name).set(self._outbox.attempts)

    def _show_disabled(self) -> None:
        metrics.WEBHOOK_DISABLED.labels(self.name).set(1)
        _log.warning(
            "the webhook endpoint %s (%s) answered 410 and is disabled until its URL or secret changes",
            self.name,
            self._target.endpoint,
        )


def _now() -> float:
    """Return seconds since 1970 by the monotonic clock, so that a clock set back prolongs no pause."""
    return _STARTED + time.monotonic()


def _outbox(endpoint: Endpoint, stored: CourierState | None) -> Outbox:
    """Return the stored outbox; if the settings have changed, only its alerts are kept."""
    if stored is None:
        return Outbox()
    if stored.fingerprint != endpoint.fingerprint:
        return Outbox(state=Outbox.after_change(stored.outbox))
    return Outbox(state=stored.outbox)
