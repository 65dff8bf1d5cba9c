"""A threaded HTTP server for a flow's health and metrics, and for the webhook receiver."""

import logging
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from ssl import SSLContext
from threading import Lock, Thread
from typing import Any

CONNECTIONS = 64  # open connections at most
DEADLINE = 10.0  # seconds from the connection to the end of its response

_log = logging.getLogger("driftline.http")


class BackgroundServer(ThreadingTCPServer):  # HTTPServer does a slow DNS lookup of its own name
    """Answers one request per connection while its `with` block runs; port 0 picks a free `port`.

    Slow clients cannot block others: at most `CONNECTIONS` are open, and a new one closes the oldest, since a
    normal request takes milliseconds. A connection without a response within `deadline` seconds is closed.
    With a context `tls` it speaks TLS.

    Raises `OSError` or `OverflowError` if it cannot listen on the address.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False  # threads of closed connections end by themselves
    request_queue_size = 2 * CONNECTIONS

    def __init__(
        self,
        host: str,
        port: int,
        handler: type[BaseHTTPRequestHandler],
        *,
        tls: SSLContext | None = None,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), handler)
        self._tls = tls
        self.port: int = self.server_address[1]
        self._deadline = deadline
        self._clock = clock
        self._opened: dict[Any, float] = {}  # oldest first
        self._lock = Lock()
        self._thread = Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "BackgroundServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
        with self._lock:
            self._end_oldest(len(self._opened))

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; its thread makes the TLS handshake with the first read."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._end_oldest(len(self._opened) - CONNECTIONS + 1)
            self._opened[request] = self._clock()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._opened.pop(request, None)
            super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close the connections that are past the deadline; called by the server loop."""
        with self._lock:
            latest = self._clock() - self._deadline
            self._end_oldest(sum(opened <= latest for opened in self._opened.values()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an exception of a handler; one of a disconnected client at debug level only."""
        level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
        _log.log(level, "the request from %s was not answered", client_address[0], exc_info=True)

    def _end_oldest(self, count: int) -> None:
        """Shut down the oldest connections, which ends the threads that read or write them."""
        for request in list(self._opened)[: max(0, count)]:
            del self._opened[request]
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
