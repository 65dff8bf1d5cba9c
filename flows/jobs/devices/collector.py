"""An HTTP server that appends the predictions of devices to their topic."""

import re
import time
from http.server import BaseHTTPRequestHandler
from ssl import SSLContext
from typing import Any, NamedTuple

import orjson

from flows.core.serving.access.callers import Credentials, caller, is_loopback
from flows.core.serving.access.requests import Needed
from flows.edge.forwarding import DEVICE
from flows.errors import BrokerError, ConfigError, InvalidRecord, NotAllowed
from flows.host.background_server import BackgroundServer
from flows.jobs.devices.edge_topic import EdgeTopic, parse
from flows.runtime.access.token_file import TokenFile

LOCAL = "127.0.0.1"
_LARGEST = 2**20  # bytes of a request
_DEVICE = re.compile(r"[0-9a-f]{16}")
_LENGTH = re.compile(r"[0-9]{1,9}")


class Door(NamedTuple):
    """Where a collector listens, who may send there, and its TLS context, if it speaks TLS."""

    host: str
    port: int
    tokens: TokenFile
    tls: SSLContext | None

    def check(self, given: Credentials, pipeline: str) -> None:
        """Raise `NotAllowed` for a request without what it needs, `ConfigError` if that cannot be told."""
        now = time.time_ns() // 1_000_000
        is_local = is_loopback(self.host)
        caller(self.tokens.read(), given, Needed("publish", pipeline), now, is_local=is_local)


def collector(door: Door, topic: EdgeTopic) -> BackgroundServer:
    """Return the server.

    Raises `ConfigError` if it cannot listen there, or if others could read what it receives.
    """
    if door.tls is None and not is_loopback(door.host):
        raise ConfigError(
            f"a collector on {door.host} must speak TLS; set DRIFTLINE_SERVE_CERTIFICATE and "
            f"DRIFTLINE_SERVE_KEY, or use --host {LOCAL} behind a proxy that does"
        )
    try:
        return BackgroundServer(door.host, door.port, _handler(door, topic), tls=door.tls)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--port must be free on {door.host}, got {door.port} ({error}); name another port or --host"
        ) from None


def _handler(door: Door, topic: EdgeTopic) -> type[BaseHTTPRequestHandler]:
    """Return the request handler; the base class takes no arguments of ours, so this one closes over them."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if not _LENGTH.fullmatch(size) or int(size) > _LARGEST:
                self._send(413, {"error": f"a request must have a length of at most {_LARGEST:,} bytes"})
                return
            body = self.rfile.read(int(size))  # before any answer, which a client that sends would not read
            given = Credentials(self.headers.get("Authorization", ""), self.headers.get("Host", ""))
            try:
                door.check(given, topic.pipeline)
            except NotAllowed as refusal:
                self._send(refusal.status, {"error": str(refusal)}, refusal.headers)
            except ConfigError as error:
                self._send(503, {"error": str(error)})
            else:
                self._send(*_answer(topic, self.headers.get(DEVICE, ""), body))

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 (named by its base class)
            """Log nothing: a request has data of users."""

        def _send(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            body = orjson.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if status == 503:
                self.send_header("Retry-After", "5")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _answer(topic: EdgeTopic, device: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer to a request."""
    if not _DEVICE.fullmatch(device):
        return 400, {"error": f"the header {DEVICE} must be 16 hexadecimal digits"}
    try:
        return 200, {"next": topic.append(device, parse(body))}
    except InvalidRecord as fault:
        return 400, {"error": str(fault)}
    except BrokerError as error:
        return 503, {"error": str(error)}
