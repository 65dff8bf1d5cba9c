"""Clients that mean harm, or are broken: the server answers the others, and nothing is an internal error."""

import re
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread

import orjson
import pytest
import uvicorn
from harness import PATIENCE, Project, wait_until
from made_flights import HOUR, NOON, event_payload
from served import Server, serving

from flows.serve.admission.connections import LimitedProtocol
from flows.serve.routes.streams import MOST_STREAMS

EVENTS, INFER = "/v1/flight_delays/events", "/v2/models/flight_delays/infer"
JSON, LINES = {"content-type": "application/json"}, {"content-type": "application/x-ndjson"}
NESTED = "[" * 300 + "]" * 300  # orjson reads it, and does not write it
ENDLESS = "[" * 100_000


class Impatient(LimitedProtocol):
    """A connection that does not wait long."""

    slowest = 0.2


@pytest.fixture(scope="module")
def server(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server that all tests attack, and see in the end that it has had no internal error."""
    project = applied.copy_to(tmp_path_factory.mktemp("attacks") / "project")
    with serving(project, SERVE_RATE=100_000) as running:
        yield running
        assert running.get("/v2").status_code == 200
        assert "Traceback" not in running.running.said()


def memory(server: Server) -> int:
    """Return the resident memory of the server in bytes."""
    status = Path(f"/proc/{server.running.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024


def connected(server: Server) -> socket.socket:
    port = int(server.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def sent(server: Server, head: str, body: bytes = b"") -> bytes:
    """Send bytes, and return the first line of the answer."""
    with connected(server) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + body)
        return connection.makefile("rb").readline()


def tensor(**members: str) -> str:
    parts = {"name": '"x"', "datatype": '"FP64"', "shape": "[1]", "data": "[1]", **members}
    return '{"inputs": [{' + ", ".join(f'"{name}": {text}' for name, text in parts.items()) + "}]}"


@pytest.mark.parametrize(
    "body",
    [
        *(tensor(**{name: NESTED}) for name in ("name", "datatype", "shape", "data", "parameters")),
        *(tensor(data=f"[{value}]") for value in ("NaN", "Infinity", "1e400", '"\\ud800"', "1" + "0" * 400)),
        *(tensor()[:-1] + f', "{name}": {NESTED}}}' for name in ("id", "parameters", "outputs")),
        tensor()[:-1] + ', "parameters": {"a": {}}}',
        tensor()[:-1] + ', "parameters": []}',
        ENDLESS,
        '{"a":' * 100_000,
    ],
    ids=range(17),
)
def test_json_that_cannot_be_meant_is_refused(server, body):
    answer = server.post(INFER, content=body, headers=JSON)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("field", ["flight_id", "origin", "distance", "scheduled_departure"])
@pytest.mark.parametrize(
    "value", ["NaN", "-Infinity", "1e400", '"\\ud800"', "1" + "0" * 400, NESTED, ENDLESS]
)
def test_an_event_that_the_flows_could_not_read_is_not_published(server, field, value):
    payload = orjson.dumps({**event_payload("A1", NOON), field: "HERE"}).decode().replace('"HERE"', value)
    assert server.post(EVENTS, content=payload, headers=JSON).status_code == 422


def test_of_a_field_that_is_given_twice_all_read_the_last_one(server):
    body = orjson.dumps(event_payload("first", NOON))[:-1] + b', "flight_id": "last"}'
    assert server.post(EVENTS, content=body, headers=JSON).json() == {"id": "last", "status": "published"}


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "x"])
def test_a_length_of_json_that_is_none_is_refused(server, length):
    headers = {**JSON, "Inference-Header-Content-Length": length}
    assert server.post(INFER, content="{}", headers=headers).status_code == 400


@pytest.mark.parametrize("line", [b"\n", b"ab\n", b"\r"])
def test_a_body_of_millions_of_lines_is_refused_before_it_is_split(server, line):
    before = memory(server)
    answer = server.post(EVENTS, content=line * (8_000_000 // len(line)), headers=LINES)
    assert (answer.status_code, "must have 1 to 1,000 lines" in answer.json()["error"]) == (400, True)
    assert memory(server) < before + 60_000_000


@pytest.mark.parametrize("name", ["a" * 5000 + ".js", "%00.js", "..%2F..%2Fapp.py", "%2Fetc%2Fpasswd", ".."])
def test_a_file_that_is_not_of_the_page_is_not_there(server, name):
    assert sent(server, f"GET /assets/{name} HTTP/1.1\nHost: 127.0.0.1\n\n").split()[1] == b"404"


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 4\nTransfer-Encoding: chunked",
        "Content-Length: 2\nContent-Length: 3",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Content-Length: +2",
        "Content-Length: " + "9" * 5000,
        "Content-Length : 2",
        "X: a\n folded",
    ],
)
def test_a_request_whose_end_two_servers_could_see_differently_is_refused(server, head):
    request = f"POST {EVENTS} HTTP/1.1\nHost: 127.0.0.1\nContent-Type: application/json\n{head}\n\n"
    assert sent(server, request, b"2\r\n{}\r\n0\r\n\r\n").split()[1] == b"400"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        ("GET /", b"a" * 65_536),
        ("GET /v2 HTTP/1.1\nX: ", b"a" * 65_536),
        ("GET /v2 HTTP/1.1\n", b"a: b\r\n" * 10_000),
        (f"POST {EVENTS} HTTP/1.1\nHost: 127.0.0.1\nTransfer-Encoding: chunked\n\n5;", b"a" * 65_536),
        (f"POST {EVENTS} HTTP/1.1\nHost: 127.0.0.1\nTransfer-Encoding: chunked\n\n0\n", b"a: b\r\n" * 10_000),
    ],
    ids=["path", "header", "headers", "chunk", "trailers"],
)
def test_what_is_sent_without_end_is_not_kept(server, begin, more):
    before = memory(server)
    request = begin.replace("\n", "\r\n").encode() + 1000 * more
    with connected(server) as connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
        connection.sendall(request)
    assert memory(server) < before + 30_000_000


def test_a_stream_beyond_the_limit_is_refused_and_its_place_is_free_again_later(server):
    request = "GET /v1/flight_delays/streams/predictions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    def statuses(clients: list[socket.socket]) -> list[bytes]:
        for client in clients:
            client.sendall(request.encode())
        return sorted(client.makefile("rb").readline().split()[1] for client in clients)

    with ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(MOST_STREAMS + 20)]
        assert statuses(clients) == [b"200"] * MOST_STREAMS + [b"503"] * 20

    def is_free() -> bool:
        with connected(server) as client:
            return statuses([client]) == [b"200"]

    wait_until(is_free, PATIENCE)


def test_nobody_is_waited_for_who_is_gone(project: Project) -> None:
    """More clients than may ask at once wait for a minute, for predictions that do not come, and go."""
    with serving(project, SERVE_RATE=100_000) as server:
        for number in range(600):
            body = orjson.dumps(event_payload(f"G{number}", NOON + number))
            head = f"POST {EVENTS}?wait=60 HTTP/1.1\nHost: 127.0.0.1\nContent-Type: application/json\n"
            with connected(server) as client:
                request = f"{head}Content-Length: {len(body)}\n\n".replace("\n", "\r\n").encode()
                client.sendall(request + body)
        wait_until(lambda: server.get("/v2").status_code == 200, 30)
        assert "Traceback" not in server.running.said()


def test_a_deeply_nested_record_can_be_shown(project: Project) -> None:
    late = orjson.dumps(event_payload("N2", NOON - 10 * HOUR)).decode()
    project = project.with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.5)
    with project.flows("predict"), serving(project) as server:
        assert server.post(EVENTS, params={"wait": 30}, json=event_payload("N1", NOON)).status_code == 200
        body = f'{late[:-1]}, "more": {NESTED}}}'
        assert server.post(EVENTS, params={"wait": 30}, content=body, headers=JSON).status_code == 422
        assert NESTED in server.get("/v1/flight_delays/dead-letters").text
    shown = project.run("tail", "dead-letters", "--from-start", "-n", "1", "--json")
    assert (shown.returncode, NESTED in shown.stdout) == (0, True), shown.stderr


class Slow:
    """A server in this process, whose connections do not wait long."""

    def __init__(self, app: Callable) -> None:
        config = uvicorn.Config(app, port=0, http=Impatient, log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> socket.socket:
        self._thread.start()
        return socket.create_connection(self._socket.getsockname(), PATIENCE)

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()


async def large(_: object, __: object, send: Callable) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000):
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX"])
def test_a_connection_without_a_whole_request_is_closed(begin):
    with Slow(large) as client:
        client.sendall(begin)
        assert is_closed(client)


def test_a_second_request_that_does_not_end_closes_the_connection_too():
    async def small(_: object, __: object, send: Callable) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with Slow(small) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 204")
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert is_closed(client)


def test_a_client_that_does_not_take_its_answer_is_disconnected():
    ended: list[bool] = []

    async def noting(scope: object, receive: Callable, send: Callable) -> None:
        with suppress(Exception):
            await large(scope, receive, send)
        ended.append(True)

    with Slow(noting) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        wait_until(lambda: ended == [True], PATIENCE)


def is_closed(client: socket.socket) -> bool:
    with suppress(ConnectionResetError):
        return client.recv(1) == b""
    return True


def test_more_connections_than_the_limit_are_closed_and_later_ones_are_served(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    try:
        with ExitStack() as stack:
            for _ in range(1200):
                with suppress(OSError):
                    stack.enter_context(connected(server))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def answers() -> bool:
        with suppress(OSError):
            return sent(server, "GET /v2 HTTP/1.1\nHost: 127.0.0.1\n\n").split()[1:2] == [b"200"]
        return False

    wait_until(answers, PATIENCE)
