"""Predictions of devices come to the log once, whatever is away, killed or repeated."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random

import httpx
import pytest
from certificates import make_certificate
from harness import DRIFTLINE, Project, Running, run_flow, server_port, wait_until
from made_numbers import NAMES, points, project_in
from typer.testing import CliRunner

from flows.adapters.sqlite.log import LogBroker
from flows.cli.app import app
from flows.core.stream.broker import Outgoing
from flows.errors import BrokerAway, InvalidRecord
from flows.host.background_server import BackgroundServer
from flows.jobs.devices.edge_topic import EdgeTopic, parse

BARE = (sys.executable, "-I", "-S")  # without the packages of the environment
DEVICE = "0123456789abcdef"


@pytest.fixture
def numbers(tmp_path: Path) -> Project:
    """Return a project after a run, with a package and the runtime."""
    made = project_in(tmp_path / "project")
    project = Project(
        made.directory, {"PYTHONPATH": os.pathsep.join(sys.path)}
    )  # commands import the declaration
    project.send(points(100))
    for flow in ("predict", "learn"):
        run_flow(project.engine(), flow)
    with chdir(project.directory):
        for arguments in (("edge", "champion", "--out", "package"), ("runtime", "--out", "driftline-edge")):
            done = CliRunner().invoke(app, ["export", *arguments])
            assert done.exit_code == 0, done.exception
    return project


def lines(first: int, number: int) -> str:
    random = Random(first)
    events = [
        {"id": f"E{each}", "features": {name: random.random() for name in NAMES}}
        for each in range(first, first + number)
    ]
    return "".join(json.dumps(each) + "\n" for each in events)


def start_edge(project: Project, *options: str, **environment: str) -> subprocess.Popen[str]:
    arguments = [*BARE, "driftline-edge", "package", "--outbox", "outbox.db", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        arguments,
        cwd=project.directory,
        env={**os.environ, **environment},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def edge(project: Project, text: str, *options: str, **environment: str) -> tuple[list[dict], str]:
    """Score the lines; return the answers and what was said."""
    with start_edge(project, *options, **environment) as process:
        out, said = process.communicate(text, timeout=60)
    assert process.returncode == 0, said
    return [json.loads(line) for line in out.splitlines()], said


def start_collector(project: Project, port: int) -> Running:
    running = project.start(DRIFTLINE, "collect", "--port", str(port))
    wait_until(lambda: "writes to topic" in running.said() or running.process.poll() is not None, 30)
    assert running.process.poll() is None, running.said()
    return running


@contextmanager
def collecting(project: Project, port: int) -> Iterator[None]:
    running = start_collector(project, port)
    try:
        yield
    finally:
        code = running.stop()
    assert code == 0, running.said()


def on_topic(project: Project) -> list[dict]:
    with project.broker() as broker:
        return project.values("edge") if "numbers.edge" in broker.topics() else []


def test_what_was_scored_offline_is_forwarded_once_when_the_log_is_back(numbers: Project) -> None:
    port = server_port()
    url = f"http://127.0.0.1:{port}/"
    answers, said = edge(numbers, lines(0, 20), "--forward", url)
    assert "20 predictions wait in outbox.db" in said
    more, _ = edge(numbers, lines(20, 5))  # nothing is said without --forward
    with collecting(numbers, port):
        last, said = edge(numbers, lines(25, 5), "--forward", url)
        assert said == ""
        assert edge(numbers, "", "--forward", url) == ([], "")
    found = on_topic(numbers)
    assert [value["number"] for value in found] == list(range(1, 31))
    assert [{name: value[name] for name in answers[0]} for value in found] == [*answers, *more, *last]
    running = numbers.engine()
    sent = [json.loads(line)["features"] for line in lines(0, 20).splitlines()]
    assert found[0]["plan"] == running.state.plan().hash
    assert [value["features"] for value in found[:20]] == [list(each.values()) for each in sent]


def test_kills_of_the_device_and_of_the_collector_lose_and_repeat_nothing(numbers: Project) -> None:
    port, random = server_port(), Random(1)
    url = f"http://127.0.0.1:{port}/"
    answered = []
    for round_number in range(5):
        running = start_collector(numbers, port)
        device = start_edge(numbers, "--forward", url)
        assert device.stdin is not None
        assert device.stdout is not None
        for line in lines(1000 * round_number, random.randint(20, 60)).splitlines(keepends=True):
            device.stdin.write(line)
            device.stdin.flush()
            answered.append(json.loads(device.stdout.readline())["id"])
        for victim in random.sample([device, running.process], 2):
            victim.send_signal(signal.SIGKILL)
            victim.wait()
        for stream in (device.stdin, device.stdout, device.stderr):
            with suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]
    before = len(on_topic(numbers))
    with collecting(numbers, port):
        edge(numbers, "", "--forward", url)
    found = on_topic(numbers)
    assert [value["number"] for value in found] == list(range(1, len(answered) + 1))
    assert [value["id"] for value in found] == answered
    assert 0 < before <= len(answered)


def prediction(number: int, **changes: object) -> bytes:
    body = {
        "number": number,
        "id": f"E{number}",
        "time": "2026-01-01T00:00:00.000Z",
        "score": 0.5,
        "model": "v1",
        "learned": 7,
        "plan": "abc",
        "features": [1.0, None, "x"],
    }
    return json.dumps({**body, **changes}).encode() + b"\n"


def test_a_repeated_request_is_answered_alike_and_written_once(numbers: Project) -> None:
    port = server_port()
    with collecting(numbers, port):
        for first, last in ((1, 3), (1, 3), (2, 5)):
            body = b"".join(map(prediction, range(first, last + 1)))
            answer = httpx.post(
                f"http://127.0.0.1:{port}/", content=body, headers={"Driftline-Device": DEVICE}
            )
            assert (answer.status_code, answer.json()) == (200, {"next": last + 1})
        other = httpx.post(
            f"http://127.0.0.1:{port}/", content=prediction(1), headers={"Driftline-Device": DEVICE[::-1]}
        )
        assert other.json() == {"next": 2}
        refused = httpx.post(f"http://127.0.0.1:{port}/", content=prediction(6))
        assert refused.status_code == 400
    found = on_topic(numbers)
    assert [(value["device"], value["number"]) for value in found] == [
        *((DEVICE, number) for number in range(1, 6)),
        (DEVICE[::-1], 1),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "increasing numbers"),
        (b"{\n", "must be a prediction"),
        (b"[1]\n", "must be a prediction"),
        (prediction(2) + prediction(1), "increasing numbers"),
        (prediction(1) + prediction(1), "increasing numbers"),
        (prediction(0), "'number' must be at least 1"),
        (prediction(1, score="high"), "'score' must be float"),
        (prediction(1, more=1), "must have the fields"),
        (prediction(1, time="yesterday"), "must be a prediction"),
    ],
)
def test_anything_else_than_predictions_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRecord, match=message):
        parse(body)


def test_after_a_fault_of_the_broker_the_topic_tells_what_was_written(
    numbers: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Sequence[Outgoing]] = []
    running, producer_of = numbers.engine(), LogBroker.producer

    def failing(self: LogBroker) -> object:
        producer = producer_of(self)
        rightly = producer.send

        def send(records: Sequence[Outgoing]) -> object:
            rightly(records[:1])  # some were written when the connection broke
            sent.append(records)
            raise BrokerAway("the broker does not answer")

        producer.send = send  # type: ignore[method-assign,assignment]
        return producer

    with monkeypatch.context() as patched:
        patched.setattr(LogBroker, "producer", failing)
        topic = EdgeTopic(running.open_broker, running.pipeline)
        with pytest.raises(BrokerAway):
            topic.append(DEVICE, parse(prediction(1) + prediction(2) + prediction(3)))
    with closing(topic):
        assert topic.append(DEVICE, parse(prediction(1) + prediction(2) + prediction(3))) == 4
    assert [value["number"] for value in on_topic(numbers)] == [1, 2, 3]
    assert len(sent) == 1


def test_a_second_collector_is_refused(numbers: Project) -> None:
    with collecting(numbers, server_port()):
        second = numbers.run("collect", "--port", "0")
    assert second.returncode == 2
    assert "another process runs collect" in second.stderr


def token(project: Project, name: str, scope: str) -> Path:
    """Make a token by the command; return a file with it."""
    made = project.run("tokens", "create", name, "--scope", scope)
    assert made.returncode == 0, made.stderr
    file = project.directory / f"{name}.token"
    file.write_text(made.stdout)
    return file


def test_a_collector_that_others_can_reach_needs_a_token_and_tls(numbers: Project) -> None:
    open_to_all = ("collect", "--port", "0", "--host", "0.0.0.0")  # noqa: S104
    refused = numbers.run(*open_to_all)
    assert refused.returncode == 2
    assert "make one with `driftline tokens create NAME --scope publish`" in refused.stderr
    token(numbers, "device", "publish")
    refused = numbers.run(*open_to_all)
    assert refused.returncode == 2
    assert "must speak TLS; set DRIFTLINE_SERVE_CERTIFICATE" in refused.stderr
    assert on_topic(numbers) == []


def test_devices_send_their_token_over_tls_and_what_is_refused_waits(
    numbers: Project, tmp_path: Path
) -> None:
    certificate, key, port = tmp_path / "server.pem", tmp_path / "server.key", server_port()
    make_certificate(certificate, key)
    secured = numbers.with_settings(SERVE_CERTIFICATE=certificate, SERVE_KEY=key)
    reader, device = token(numbers, "reader", "read"), token(numbers, "device", "publish")
    forward, trusted = ("--forward", f"https://127.0.0.1:{port}/"), {"SSL_CERT_FILE": str(certificate)}
    with collecting(secured, port):
        for options, environment, said in (
            ((), trusted, "401"),
            (("--token-file", str(reader)), trusted, "must have the scope 'publish' on pipeline 'numbers'"),
            (("--token-file", str(device)), {}, "CERTIFICATE_VERIFY_FAILED"),
        ):
            _, told = edge(numbers, lines(0, 1), *forward, *options, **environment)
            assert said in told
        assert on_topic(numbers) == []
        _, told = edge(numbers, lines(9, 1), *forward, "--token-file", str(device), **trusted)
        assert told == ""
    assert [value["number"] for value in on_topic(numbers)] == [1, 2, 3, 4]


def test_a_page_of_another_site_cannot_send_to_a_collector_without_tokens(numbers: Project) -> None:
    port = server_port()
    with collecting(numbers, port):
        headers = {"Driftline-Device": DEVICE, "Host": "example.org"}
        answer = httpx.post(f"http://127.0.0.1:{port}/", content=prediction(1), headers=headers)
    assert answer.status_code == 403
    assert on_topic(numbers) == []


@pytest.mark.parametrize("size", ["9" * 5000, "-1", "x", ""])
def test_a_length_that_is_none_is_refused(numbers: Project, size: str) -> None:
    port = server_port()
    with collecting(numbers, port), socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode())
        assert b" 413 " in connection.recv(1000)


def test_a_token_goes_to_no_other_receiver_than_the_named_one(numbers: Project) -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 (named by the base class)

    file = token(numbers, "device", "publish")
    with BackgroundServer("127.0.0.1", 0, Elsewhere) as server:
        url = f"http://127.0.0.1:{server.port}/"
        _, said = edge(numbers, lines(0, 1), "--forward", url, "--token-file", str(file))
    assert "HTTP Error 307" in said
    assert set(asked) == {"/"}
    assert file.read_text().strip() not in said


@pytest.mark.parametrize(
    ("url", "content", "said"),
    [
        ("http://192.0.2.1/", "driftline_x", "needs --forward with an https URL"),
        ("https://192.0.2.1/", "two tokens", "must have a token in one line"),
        ("https://192.0.2.1/", None, "must be a file with a token"),
    ],
)
def test_a_token_that_others_could_read_or_that_is_none_is_refused_at_the_start(
    numbers: Project, url: str, content: str | None, said: str
) -> None:
    file = numbers.directory / "token"
    if content is not None:
        file.write_text(content)
    with start_edge(numbers, "--forward", url, "--token-file", str(file)) as process:
        _, told = process.communicate("", timeout=60)
    assert process.returncode == 2
    assert said in told
