"""An HTTP server that answers from a thread: what a flow tells of itself, and a receiver of webhooks."""

from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Thread


class BackgroundServer(ThreadingTCPServer):  # http.server's own looks its name up in the DNS: seconds
    """Answers while its `with` block runs; port 0 picks a free one, which `port` then tells.

    Raises `OSError` or `OverflowError` when it cannot listen there.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__((host, port), handler)
        self.port: int = self.server_address[1]
        self._thread = Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "BackgroundServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
