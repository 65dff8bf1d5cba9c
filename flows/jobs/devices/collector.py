"""An HTTP server on loopback that appends the predictions of devices to their topic."""

import re
from http.server import BaseHTTPRequestHandler
from typing import Any

import orjson

from flows.edge.forwarding import DEVICE
from flows.errors import BrokerError, ConfigError, InvalidRecord
from flows.host.background_server import BackgroundServer
from flows.jobs.devices.edge_topic import EdgeTopic, parse

HOST = "127.0.0.1"
_LARGEST = 2**20  # bytes of a request
_DEVICE = re.compile(r"[0-9a-f]{16}")


def collector(port: int, topic: EdgeTopic) -> BackgroundServer:
    """Return the server; raises `ConfigError` if the port is not free."""
    try:
        return BackgroundServer(HOST, port, _handler(topic))
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port must be free, got {port} ({error}); name another") from None


def _handler(topic: EdgeTopic) -> type[BaseHTTPRequestHandler]:
    """Return the request handler; the base class takes no arguments of ours, so it closes over `topic`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if not size.isdecimal() or int(size) > _LARGEST:
                self._send(413, {"error": f"a request must have a length of at most {_LARGEST:,} bytes"})
            else:
                self._send(*_answer(topic, self.headers.get(DEVICE, ""), self.rfile.read(int(size))))

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 (named by its base class)
            """Log nothing: a request has data of users."""

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            body = orjson.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if status == 503:
                self.send_header("Retry-After", "5")
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
