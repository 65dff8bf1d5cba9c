"""The step of the alert flow."""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flows.adapters.http.webhooks import Sender
from flows.adapters.prometheus import metrics
from flows.core.alerting.outbox import EndedDelivery, Outbox
from flows.core.drift.signal import DriftSignal
from flows.core.models.snapshots import Sealer
from flows.core.stream.broker import Outgoing, Record
from flows.core.stream.dead_letter import dead_letter, undelivered
from flows.core.stream.drain import Drain
from flows.errors import InvalidRecord
from flows.runtime.steps.courier import Courier, CourierState
from flows.runtime.webhook_targets import WebhookTarget

_log = logging.getLogger("driftline.alert")


class EndedAt(NamedTuple):
    """A delivery that ended, and the name of its endpoint."""

    endpoint: str
    ended: EndedDelivery


class DeliverStep:
    """Keyed by slot: posts the signals to each endpoint, and stores those whose delivery has not ended.

    The state has the outbox of each endpoint by its name. Alerts of an endpoint that is no longer set end.
    """

    def __init__(
        self,
        targets: Sequence[WebhookTarget],
        sender: Sender,
        sealer: Sealer,
        drain: Drain,
        dead_letters: str,
        state: bytes | None,
    ) -> None:
        self._sealer = sealer
        self._drain = drain
        self._dead_letters = dead_letters
        opened: dict[str, Any] = sealer.open_state(state) if state else {}
        stored = {name: CourierState(*of_endpoint) for name, of_endpoint in opened.items()}
        self._couriers = [
            Courier(target, sender, stored.pop(target.endpoint.name, None)) for target in targets
        ]
        self._ended = [
            EndedAt(name, EndedDelivery(record, "gone", "the endpoint is no longer set"))
            for name, of_endpoint in stored.items()
            for record in Outbox(state=of_endpoint.outbox).waiting
        ]

    def take(self, values: list[list[Record]]) -> Iterable[list[Outgoing]]:
        """Add the signals to the outboxes; return dead letters."""
        out: list[Outgoing] = []
        if self._couriers:  # without an endpoint the drift topic is the only alert
            for records in values:
                for record in records:
                    out += self._put(record)
        return [out, *self.wake()]

    def due(self) -> datetime | None:
        """Return when to proceed (UTC), None if no alert waits."""
        if self._drain.is_set():
            return None
        if self._ended:
            return datetime.now(UTC)
        moments = [moment for courier in self._couriers if (moment := courier.due()) is not None]
        return datetime.fromtimestamp(min(moments), UTC) if moments else None

    def wake(self) -> Iterable[list[Outgoing]]:
        """Continue the deliveries; return dead letters. A flow that drains begins no attempt."""
        ended, self._ended = self._ended, []
        for courier in self._couriers:
            of_courier = courier.finish() if self._drain.is_set() else courier.proceed()
            ended += [EndedAt(courier.name, each) for each in of_courier]
        return [[letter for each in ended for letter in self._letters(each)]]

    def snapshot(self) -> bytes:
        """Return the state, sealed."""
        return self._sealer.seal_state({courier.name: tuple(courier.state()) for courier in self._couriers})

    def _put(self, record: Record) -> list[Outgoing]:
        try:
            signal = DriftSignal.from_json(record.value or b"")
        except InvalidRecord as fault:
            detail = f"not a drift signal: {fault}"
            _log.warning("a record of the drift topic was not posted: %s", detail)
            return [dead_letter(self._dead_letters, record, "undeliverable", detail)]
        for courier in self._couriers:
            if courier.wants(signal):
                self._ended += [EndedAt(courier.name, each) for each in courier.put(record)]
        return []

    def _letters(self, delivery: EndedAt) -> list[Outgoing]:
        """Count the delivery; return its dead letter if it failed."""
        name, ended = delivery
        metrics.WEBHOOK_DELIVERIES.labels(name, ended.result).inc()
        if ended.result == "delivered":
            return []
        _log.warning("an alert was not delivered to %s (%s): %s", name, ended.result, ended.detail)
        return [undelivered(self._dead_letters, ended.record, ended.detail, name)]
