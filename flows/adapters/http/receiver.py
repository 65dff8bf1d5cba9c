"""A webhook receiver for the demo and for testing webhook settings."""

import logging
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from threading import Lock
from typing import Any

import orjson
from standardwebhooks import Webhook, WebhookVerificationError

from flows.host.background_server import BackgroundServer

_LARGEST = 1_000_000  # bytes of a body
_log = logging.getLogger(__name__)


class Receiver:
    """Receives webhooks on loopback while the `with` block runs, and keeps those with a valid signature.

    `alerts` holds the decoded bodies in order of arrival, one for each `webhook-id`. `repeats` counts
    verified repetitions; `rejected` counts unsigned, altered, expired and malformed requests. Answers 204
    (accepted), 400 (not a JSON body of known length, at most 1 MB) or 401 (not verified). Port 0 picks a free
    port.

    >>> with Receiver("whsec_" + "MDEy" * 8) as receiver:
    ...     receiver.url.startswith("http://127.0.0.1:"), receiver.alerts
    (True, [])
    """

    def __init__(self, secret: str, port: int = 0) -> None:
        self.alerts: list[Any] = []
        self.repeats = 0
        self.rejected = 0
        self._webhook = Webhook(secret)
        self._seen: set[str] = set()
        self._lock = Lock()
        self._server = BackgroundServer("127.0.0.1", port, _handler(self))

    @property
    def url(self) -> str:
        """The URL to post to."""
        return f"http://127.0.0.1:{self._server.port}/"

    def __enter__(self) -> "Receiver":
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)

    def take(self, body: bytes | None, headers: Mapping[str, str]) -> int:
        """Handle one request and return the HTTP status; `body` is None if it could not be read."""
        status = self._status(body, headers)
        with self._lock:
            self.rejected += status != 204
        return status

    def _status(self, body: bytes | None, headers: Mapping[str, str]) -> int:
        if body is None:
            return 400
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):  # malformed headers raise ValueError
            return 401
        try:
            alert = orjson.loads(body)
        except orjson.JSONDecodeError:
            return 400
        self._keep(next(value for name, value in headers.items() if name.lower() == "webhook-id"), alert)
        return 204

    def _keep(self, webhook_id: str, alert: Any) -> None:
        with self._lock:
            if webhook_id in self._seen:
                self.repeats += 1
            else:
                self._seen.add(webhook_id)
                self.alerts.append(alert)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(receiver.take(self._body(), dict(self.headers.items())))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            _log.debug(format, *args)

        def _body(self) -> bytes | None:
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > _LARGEST:
                return None
            return self.rfile.read(int(length))

    return Handler
