"""Posts to the webhooks outside the alert flow: test events, and past alerts."""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from flows.adapters.http.webhooks import Message, Sender
from flows.core.alerting import alertmanager
from flows.core.alerting.trial import TRIAL_ANNOTATIONS, trial, trial_labels
from flows.core.drift.signal import CONTENT_TYPE, DriftSignal
from flows.core.stream.broker import Broker, Record, read_since
from flows.errors import ConfigError, InvalidRecord
from flows.runtime.webhook_targets import WebhookTarget


class Redelivery(NamedTuple):
    """The result for one endpoint: alerts to post, alerts accepted, and the last answer.

    `url` and `detail` contain no secret.
    """

    endpoint: str
    url: str
    alerts: int
    taken: int
    detail: str


def post_test_events(pipeline: str, targets: Sequence[WebhookTarget], sender: Sender) -> list[Redelivery]:
    """Post a test event of the pipeline once to each endpoint; filters are ignored."""
    identity, now = f"test_{secrets.token_hex(16)}", time.time_ns() // 1_000_000
    results = []
    for target in targets:
        answer = sender.post(target.endpoint, _test_message(target, pipeline, identity, now))
        results.append(_result(target, 1, int(answer.result == "delivered"), answer.detail))
    return results


def replay_alerts(
    broker: Broker, topic: str, span: tuple[int, int], targets: Sequence[WebhookTarget], sender: Sender
) -> list[Redelivery]:
    """Post the alerts on `topic` with `begin <= time < end` (ms) again to the endpoints that want them.

    Each alert is posted once. After the first one that an endpoint refuses, the rest is skipped for it.
    """
    begin, end = span
    signals = [(signal, record) for signal, record in _signals(broker, topic) if begin <= signal.time < end]
    return [_replay(sender, target, signals) for target in targets]


def _replay(
    sender: Sender, target: WebhookTarget, signals: Sequence[tuple[DriftSignal, Record]]
) -> Redelivery:
    wanted = [(signal, record) for signal, record in signals if target.wants.matches(signal)]
    detail = ""
    for taken, (signal, record) in enumerate(wanted):
        answer = sender.post(target.endpoint, target.message(signal, record.value or b""))
        detail = answer.detail
        if answer.result != "delivered":
            return _result(target, len(wanted), taken, f"{signal.id}: {detail}")
    return _result(target, len(wanted), len(wanted), detail)


def _test_message(target: WebhookTarget, pipeline: str, identity: str, now: int) -> Message:
    if target.alertmanager:
        body = alertmanager.group("resolved", trial_labels(pipeline), TRIAL_ANNOTATIONS, now, now)
        return Message(identity, body, alertmanager.CONTENT_TYPE)
    return Message(identity, trial(pipeline, identity, now), CONTENT_TYPE)


def chosen(targets: Sequence[WebhookTarget], name: str) -> list[WebhookTarget]:
    """Return the endpoint of this name, by default all; raise `ConfigError` if there is none."""
    names = [target.endpoint.name for target in targets]
    if not names:
        raise ConfigError("no webhook is configured; set DRIFTLINE_WEBHOOK_URL and DRIFTLINE_WEBHOOK_SECRET")
    if name and name not in names:
        raise ConfigError(f"--endpoint must be one of {', '.join(names)}, got {name!r}")
    return [target for target in targets if name in ("", target.endpoint.name)]


def _signals(broker: Broker, topic: str) -> Iterator[tuple[DriftSignal, Record]]:
    """Read the drift signals, partition by partition; invalid records were reported by the alert flow."""
    for record in read_since(broker, topic, 0):
        with suppress(InvalidRecord):
            yield DriftSignal.from_json(record.value or b""), record


def _result(target: WebhookTarget, alerts: int, taken: int, detail: str) -> Redelivery:
    return Redelivery(target.endpoint.name, str(target.endpoint), alerts, taken, detail)
