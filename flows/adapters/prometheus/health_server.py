"""HTTP server for a flow's metrics, liveness and readiness."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client.exposition import choose_encoder

from flows.adapters.prometheus.metrics import REGISTRY
from flows.errors import ConfigError
from flows.host.background_server import BackgroundServer


def health_server(host: str, port: int, ready: Callable[[], str | None]) -> BackgroundServer:
    """Return a server of /metrics, /healthz and /readyz, which runs while its `with` block does.

    `ready` returns None, or what the process is waiting for; the server's threads call it. Raises
    `ConfigError` if the address cannot be bound.

    >>> with health_server("127.0.0.1", 0, ready=lambda: None) as server:
    ...     server.port > 0
    True
    """
    try:
        return BackgroundServer(host, port, _handler(ready))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot serve health and metrics on {host}:{port} ({error}); "
            "set DRIFTLINE_HTTP_PORT to a free port, or to 0 to have one picked"
        ) from None


def _handler(ready: Callable[[], str | None]) -> type[BaseHTTPRequestHandler]:
    """Return the request handler; the base class takes no arguments of ours, so it closes over `ready`."""

    class Handler(_HealthHandler):
        def waits_for(self) -> str | None:
            return ready()

    return Handler


class _HealthHandler(BaseHTTPRequestHandler):
    def waits_for(self) -> str | None:
        raise NotImplementedError

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("accept", ""))
            self._answer(HTTPStatus.OK, encode(REGISTRY), content_type)
        elif path == "/healthz":
            self._answer_text(HTTPStatus.OK, "ok")
        elif path == "/readyz":
            waits_for = self.waits_for()
            status = HTTPStatus.OK if waits_for is None else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer_text(status, waits_for or "ok")
        else:
            self._answer_text(HTTPStatus.NOT_FOUND, "there are /metrics, /healthz and /readyz")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        logging.getLogger(__name__).debug(format, *args)

    def _answer_text(self, status: HTTPStatus, text: str) -> None:
        self._answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
