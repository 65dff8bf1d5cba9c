"""The HTTP server of health and webhooks, with clients that misbehave."""

import logging
import socket
import threading
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler

import httpx
import pytest
from harness import wait_until

from flows.host.background_server import CONNECTIONS, BackgroundServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/broken":
            raise ValueError("a fault of the handler")
        body = b"x" * 50_000_000 if self.path == "/large" else b"ok"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def get(server, path="/"):
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=10)


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def is_closed(client):
    """Return whether the server has closed the connection, without waiting."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_a_thousand_clients_that_drip_do_not_take_the_server_away():
    with BackgroundServer("127.0.0.1", 0, Handler) as server, ExitStack() as clients:
        dripping = [clients.enter_context(connect(server)) for _ in range(1000)]
        for client in dripping:
            with suppress(ConnectionError):
                client.sendall(b"GET / HTTP/1.1\r\nX-Drip: ")
        assert [get(server).status_code for _ in range(20)] == [200] * 20
        threads = [t for t in threading.enumerate() if "process_request_thread" in t.name]
        assert len(threads) <= 2 * CONNECTIONS


def test_a_further_connection_replaces_the_oldest():
    with BackgroundServer("127.0.0.1", 0, Handler) as server, ExitStack() as clients:
        opened = [clients.enter_context(connect(server)) for _ in range(CONNECTIONS + 1)]
        wait_until(lambda: is_closed(opened[0]))
        assert not any(map(is_closed, opened[1:]))


def test_a_request_that_drips_is_closed_at_the_deadline_of_the_whole_request():
    now = [0.0]
    server = BackgroundServer("127.0.0.1", 0, Handler, deadline=10, clock=lambda: now[0])
    with server, connect(server) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        for now[0] in (4.0, 9.0):
            assert get(server).status_code == 200  # the server's loop has looked at its connections
            slow.sendall(b"X-Drip: 1\r\n")
            assert not is_closed(slow)
        now[0] = 20.0  # 10 s after the last moment at which the server can have seen the connection
        wait_until(lambda: is_closed(slow))


def test_a_client_that_does_not_read_its_answer_is_closed_at_the_deadline():
    now = [0.0]
    server = BackgroundServer("127.0.0.1", 0, Handler, deadline=10, clock=lambda: now[0])
    with server, connect(server) as slow:
        slow.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert slow.recv(1) == b"H"
        now[0] = 10.0
        assert [get(server).status_code for _ in range(2)] == [200, 200]  # its loop has looked since
        with suppress(ConnectionError):
            assert sum(len(part) for part in iter(lambda: slow.recv(2**20), b"")) < 50_000_000


@pytest.mark.parametrize("request_", [b"", b"GET ", b"GET /large HTTP/1.1\r\n\r\n"])
def test_a_client_that_disconnects_is_not_reported(request_, capfd, caplog):
    caplog.set_level(logging.INFO)
    with BackgroundServer("127.0.0.1", 0, Handler) as server:
        with connect(server) as client:
            client.sendall(request_)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closes by a reset
        assert get(server).status_code == 200
        wait_until(lambda: not [t for t in threading.enumerate() if "process_request_thread" in t.name])
    assert (capfd.readouterr(), [r for r in caplog.records if r.name == "driftline.http"]) == (("", ""), [])


def test_a_fault_of_the_handler_is_logged_with_its_traceback(caplog):
    with BackgroundServer("127.0.0.1", 0, Handler) as server, pytest.raises(httpx.RemoteProtocolError):
        get(server, "/broken")
    wait_until(lambda: "a fault of the handler" in caplog.text)


def test_the_end_of_the_block_closes_connections_that_are_open():
    with BackgroundServer("127.0.0.1", 0, Handler) as server:
        client = connect(server)
        get(server)
    with client:
        wait_until(lambda: is_closed(client))
