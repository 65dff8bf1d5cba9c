"""Serves a model over HTTP, on the loopback interface only."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .lines import Answer, answers, encoded

HOST = "127.0.0.1"
_LARGEST = 2**20  # bytes of a request
_SECONDS = 10.0  # that a client may take


class EdgeServer(ThreadingHTTPServer):
    """Answers `POST /score` with events as JSON lines, and `GET /health`."""

    daemon_threads = True

    def __init__(self, port: int, answer: Answer, health: Callable[[], dict[str, Any]]) -> None:
        super().__init__((HOST, port), _Handler)
        self.answer = answer
        self.health = health


class _Handler(BaseHTTPRequestHandler):
    server: EdgeServer
    timeout = _SECONDS

    def do_GET(self) -> None:
        """Say which model is served."""
        if not self._is_local():
            self._send(403, {"error": "the Host must be 127.0.0.1 or localhost"})
        elif self.path != "/health":
            self._send(404, {"error": "the paths are GET /health and POST /score"})
        else:
            self._send(200, self.server.health())

    def do_POST(self) -> None:
        """Answer each line of the body with a line."""
        size = self.headers.get("Content-Length", "")
        if not self._is_local():
            self._send(403, {"error": "the Host must be 127.0.0.1 or localhost"})
        elif self.path != "/score":
            self._send(404, {"error": "the paths are GET /health and POST /score"})
        elif not size.isdecimal():
            self._send(411, {"error": "the header Content-Length must be given"})
        elif int(size) > _LARGEST:
            self._send(413, {"error": f"a request must be at most {_LARGEST:,} bytes; send several"})
        else:
            lines = self.rfile.read(int(size)).splitlines()
            self._send(200, *answers(lines, self.server.answer))

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 (named by its base class)
        """Log nothing: a request has data of users."""

    def _is_local(self) -> bool:
        """Return whether the request names this machine; a web page of another name must not ask."""
        return self.headers.get("Host", "").rsplit(":", 1)[0] in (HOST, "localhost")

    def _send(self, status: int, *lines: dict[str, Any]) -> None:
        body = b"".join(map(encoded, lines))
        self.send_response(status)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
