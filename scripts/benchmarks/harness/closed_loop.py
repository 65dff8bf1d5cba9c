"""Asks an HTTP server over connections that stay open; each sends its next request after an answer.

Written on sockets, since a client library would take longer than the servers that are compared.
"""

import re
import selectors
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

_PATIENCE = 60.0  # seconds for the next answer
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Answer(NamedTuple):
    """The body of an answer, and the seconds from sending its request until it was read."""

    body: bytes
    seconds: float


def post(path: str, body: bytes) -> bytes:
    """Return a request as it is sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ask(port: int, connections: int, requests: Iterable[bytes]) -> list[Answer]:
    """Return the answers, in the order of their arrival; raises `SystemExit` for one that is no success."""
    waiting, answers = iter(requests), []
    with selectors.DefaultSelector() as selector, closing(_Connections(port, connections)) as opened:
        for each in opened.all:
            if each.send_next(waiting):
                selector.register(each.socket, selectors.EVENT_READ, each)
        while selector.get_map():
            ready = selector.select(_PATIENCE)
            if not ready:
                raise SystemExit(f"port {port} did not answer within {_PATIENCE:g} s")
            for key, _ in ready:
                if (answer := key.data.receive()) is not None:
                    answers.append(answer)
                    if not key.data.send_next(waiting):
                        selector.unregister(key.fileobj)
    return answers


class _Connection:
    """One connection, with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._began = 0.0
        self._received = b""

    def send_next(self, requests: Iterator[bytes]) -> bool:
        """Send the next request; return whether there was one."""
        request = next(requests, None)
        if request is not None:
            self._began = time.perf_counter()
            self.socket.sendall(request)
        return request is not None

    def receive(self) -> Answer | None:
        """Receive what is there; return the answer once it is complete."""
        part = self.socket.recv(65_536)
        if not part:
            raise SystemExit(f"the server closed the connection; received so far: {self._received!r:.500}")
        self._received += part
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return None
        self._received = b""
        if not head.startswith(b"HTTP/1.1 2"):
            raise SystemExit(f"the answer must be a success, got {head!r:.200} {body!r:.300}")
        return Answer(body, time.perf_counter() - self._began)


class _Connections:
    def __init__(self, port: int, count: int) -> None:
        self.all: Sequence[_Connection] = [_Connection(port) for _ in range(count)]

    def close(self) -> None:
        for each in self.all:
            each.socket.close()
