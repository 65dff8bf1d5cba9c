"""Webhook endpoints with scripted answers."""

import base64
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from harness import PATIENCE

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@contextmanager
def endpoint(*answers: int, port: int = 0, taken: list[str] | None = None) -> Iterator[tuple[str, list[int]]]:
    """Run an endpoint that gives the answers in turn and then repeats the last; yield its URL and its log.

    The answer 0 is none: it hangs until the endpoint closes. What it answered with 200 is `taken`, by id.
    """
    given: list[int] = []
    closing = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = answers[min(len(given), len(answers) - 1)]
            if taken is not None and answer == 200:
                assert is_signed(self.headers, body)
                taken.append(self.headers["webhook-id"])
            given.append(answer)
            if answer:
                self.send_response(answer)
                self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.send_header("retry-after", "1")
                self.end_headers()
            else:
                closing.wait(PATIENCE)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", given
    finally:
        closing.set()
        server.shutdown()
        server.server_close()


def is_signed(headers: Message, body: bytes) -> bool:
    """Return whether the request is signed with SECRET, as the specification defines it."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    due = base64.b64encode(hmac.digest(bytes(range(32)), signed, "sha256")).decode()
    return f"v1,{due}" in headers["webhook-signature"].split(" ")
