"""The webhook endpoints of the settings, and which alerts each of them gets."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, get_args

from flows.adapters.http.webhooks import Endpoint, Message, Sender
from flows.core.alerting import alertmanager
from flows.core.alerting.outbox import AlertFilter
from flows.core.drift.levels import DriftKind
from flows.core.drift.signal import CONTENT_TYPE, DriftSignal, Severity
from flows.errors import ConfigError
from flows.settings import Settings, WebhookSettings, webhook_variable

TIMEOUT = 5.0  # seconds; a shutdown has to wait for the attempts in progress


class WebhookTarget(NamedTuple):
    """An endpoint, which alerts it gets, and whether in Alertmanager's format."""

    endpoint: Endpoint
    wants: AlertFilter
    alertmanager: bool

    def message(self, signal: DriftSignal, body: bytes) -> Message:
        """Return the message to post for a signal whose record has the value `body`."""
        if self.alertmanager:
            headers = alertmanager.headers(signal)
            return Message(signal.id, alertmanager.body(signal), alertmanager.CONTENT_TYPE, headers)
        return Message(signal.id, body, CONTENT_TYPE)


def webhook_targets(webhooks: Sequence[WebhookSettings], pipelines: Iterable[str]) -> list[WebhookTarget]:
    """Return the endpoints that are set; `pipelines` are the names that a filter may have.

    Raises `ConfigError` for settings with which the first alert would fail.
    """
    names = list(pipelines)
    return [_target(webhook, names) for webhook in webhooks]


def webhook_sender(settings: Settings) -> Sender:
    """Return the sender that posts to the endpoints."""
    return Sender(allow_private=settings.webhook_allow_private, timeout=TIMEOUT)


def _target(webhook: WebhookSettings, pipelines: Sequence[str]) -> WebhookTarget:
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
    return WebhookTarget(endpoint, wants, webhook.format == "alertmanager")
