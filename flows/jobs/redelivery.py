"""Posts to the webhooks outside of the alert flow: test events, and the alerts of the past."""

import secrets
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import NamedTuple

from flows.adapters.http.webhooks import Message, Sender
from flows.alert import TIMEOUT, Target, targets_of
from flows.core.alerting import alertmanager
from flows.core.alerting.trial import TRIAL_ANNOTATIONS, trial, trial_labels
from flows.core.drift.signal import CONTENT_TYPE, DriftSignal
from flows.core.stream.broker import Record, read_since
from flows.errors import ConfigError, InvalidRecord
from flows.runtime.engine import Engine


class Redelivery(NamedTuple):
    """What came of the alerts for one endpoint: how many there were, how many it took, its last answer.

    `url` and `detail` hold no secret.
    """

    endpoint: str
    url: str
    alerts: int
    taken: int
    detail: str


def try_out(running: Engine, endpoint: str = "") -> list[Redelivery]:
    """Post a test event, once, to each endpoint or to that of this name, whatever its filters."""
    targets = _chosen(running, endpoint)
    identity, now = f"test_{secrets.token_hex(16)}", time.time_ns() // 1_000_000
    results = []
    sender = _sender(running)
    for target in targets:
        answer = sender.post(target.endpoint, _trial(target, running.pipeline.name, identity, now))
        results.append(_result(target, 1, int(answer.result == "delivered"), answer.detail))
    return results


def replay(running: Engine, begin: int, end: int, endpoint: str = "") -> list[Redelivery]:
    """Post the alerts with `begin <= time < end` (ms) again to the endpoints that want them.

    Each is tried once; at the first that an endpoint does not take the rest is left out for it.
    """
    targets = _chosen(running, endpoint)
    signals = [(signal, record) for signal, record in _signals(running) if begin <= signal.time < end]
    sender = _sender(running)
    return [_replay(sender, target, signals) for target in targets]


def _replay(sender: Sender, target: Target, signals: list[tuple[DriftSignal, Record]]) -> Redelivery:
    wanted = [(signal, record) for signal, record in signals if target.wants.takes(signal)]
    detail = ""
    for taken, (signal, record) in enumerate(wanted):
        answer = sender.post(target.endpoint, target.message(signal, record.value or b""))
        detail = answer.detail
        if answer.result != "delivered":
            return _result(target, len(wanted), taken, f"{signal.id}: {detail}")
    return _result(target, len(wanted), len(wanted), detail)


def _trial(target: Target, pipeline: str, identity: str, now: int) -> Message:
    if target.alertmanager:
        body = alertmanager.group("resolved", trial_labels(pipeline), TRIAL_ANNOTATIONS, now, now)
        return Message(identity, body, alertmanager.CONTENT_TYPE)
    return Message(identity, trial(pipeline, identity, now), CONTENT_TYPE)


def _chosen(running: Engine, name: str) -> list[Target]:
    targets = targets_of(running)
    names = [target.endpoint.name for target in targets]
    if not names:
        raise ConfigError("no webhook is set; set DRIFTLINE_WEBHOOK_URL and DRIFTLINE_WEBHOOK_SECRET")
    if name and name not in names:
        raise ConfigError(f"there is no endpoint {name!r}; choose with --endpoint among: {', '.join(names)}")
    return [target for target in targets if name in ("", target.endpoint.name)]


def _sender(running: Engine) -> Sender:
    return Sender(allow_private=running.settings.webhook_allow_private, timeout=TIMEOUT)


def _signals(running: Engine) -> Iterator[tuple[DriftSignal, Record]]:
    """The signals of the drift topic, partition by partition; what is none was told by the alert flow."""
    topic = running.pipeline.topic("drift")
    with closing(running.open_broker()) as broker:
        for record in read_since(broker, topic, 0):
            with suppress(InvalidRecord):
                yield DriftSignal.from_json(record.value or b""), record


def _result(target: Target, alerts: int, taken: int, detail: str) -> Redelivery:
    return Redelivery(target.endpoint.name, str(target.endpoint), alerts, taken, detail)
