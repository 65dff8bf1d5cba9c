"""The alert flow: each drift signal reaches the webhook, or is a dead letter that says why."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from harness import PATIENCE, Project, run_flow, server_port, wait_until
from signals import outgoing, signal

from flows.adapters.receiver import Receiver
from flows.alert import build
from flows.errors import ConfigError

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(SECRET) as receiver:
        yield receiver


def alerting(project: Project, url: str) -> Project:
    return project.with_settings(WEBHOOK_URL=url, WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW_PRIVATE="true")


@contextmanager
def endpoint(*answers: int) -> Iterator[tuple[str, list[int]]]:
    """An endpoint that gives these answers in turn, the last one for ever; its URL, and what it answered."""
    given: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            given.append(answers[min(len(given), len(answers) - 1)])
            self.send_response(given[-1])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", given
    finally:
        server.shutdown()
        server.server_close()


def test_each_signal_is_posted_once_with_the_very_body_that_stands_on_the_topic(
    project_on: Project, receiver: Receiver
) -> None:
    project_on.send([outgoing(signal(1)), outgoing(signal(2))])
    running = alerting(project_on, receiver.url).engine()
    run_flow(running, "alert", until=lambda _: len(receiver.alerts) == 2)
    assert receiver.alerts == project_on.values("drift")
    run_flow(running, "alert")
    assert (len(receiver.alerts), receiver.repeats, receiver.rejected) == (2, 0, 0)
    assert project_on.records("dead-letters") == []


def test_a_delivery_is_tried_again_until_the_endpoint_is_well(project: Project) -> None:
    project.send([outgoing(signal(1))])
    with endpoint(503, 429, 200) as (url, given):
        run_flow(alerting(project, url).engine(), "alert", until=lambda _: given == [503, 429, 200])
    assert given == [503, 429, 200]
    assert project.records("dead-letters") == []


@pytest.mark.parametrize("status", [410, 400])
def test_what_the_endpoint_refuses_for_good_becomes_a_dead_letter(project: Project, status: int) -> None:
    project.send([outgoing(signal(1))])
    with endpoint(status) as (url, given):
        run_flow(
            alerting(project, url).engine(), "alert", until=lambda _: bool(project.records("dead-letters"))
        )
    (letter,) = project.records("dead-letters")
    headers = dict(letter.headers)
    assert letter.value == signal(1).to_json()
    assert (headers["reason"], headers["detail"]) == (b"undeliverable", f"answered {status}".encode())
    assert given == [status]


def test_what_is_no_signal_is_not_posted(project: Project, receiver: Receiver) -> None:
    project.send([outgoing(signal(1))._replace(value=b"hello", headers=()), outgoing(signal(2))])
    run_flow(alerting(project, receiver.url).engine(), "alert", until=lambda _: bool(receiver.alerts))
    assert [alert["data"]["sequence"] for alert in receiver.alerts] == [2]
    (letter,) = project.records("dead-letters")
    assert (letter.value, dict(letter.headers)["reason"]) == (b"hello", b"undeliverable")


def test_signals_that_a_shutdown_left_undelivered_are_delivered_after_the_restart(project: Project) -> None:
    port = server_port()  # nobody listens there yet
    project.send([outgoing(signal(n)) for n in (1, 2, 3)])
    running = alerting(project, f"http://127.0.0.1:{port}/").engine()
    run_flow(running, "alert", until=lambda _: True)
    with Receiver(SECRET, port) as receiver:
        run_flow(running, "alert", until=lambda _: len(receiver.alerts) == 3)
        assert [alert["data"]["sequence"] for alert in receiver.alerts] == [1, 2, 3]
        assert receiver.repeats == 0
    assert project.records("dead-letters") == []


def test_signals_whose_delivery_a_kill_interrupted_are_delivered_after_the_restart(project: Project) -> None:
    project = alerting(project, "").with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.1)
    project.send([outgoing(signal(n)) for n in (1, 2)])
    with endpoint(503) as (url, given), project.flows("alert", DRIFTLINE_WEBHOOK_URL=url):
        wait_until(lambda: bool(given), PATIENCE)
    with Receiver(SECRET) as receiver:
        run_flow(alerting(project, receiver.url).engine(), "alert", until=lambda _: len(receiver.alerts) == 2)
        assert [alert["data"]["sequence"] for alert in receiver.alerts] == [1, 2]


def test_without_an_endpoint_the_topic_is_the_only_alert(project: Project) -> None:
    project.send([outgoing(signal(1))])
    run_flow(project.engine(), "alert")
    assert project.records("dead-letters") == []


@pytest.mark.parametrize("setting", [{"WEBHOOK_URL": "ftp://example.org"}, {"WEBHOOK_SECRET": "hush"}])
def test_a_wrong_endpoint_is_told_before_the_first_signal(project: Project, setting: dict[str, str]) -> None:
    running = alerting(project, "https://example.org/").with_settings(**setting).engine()
    with pytest.raises(ConfigError, match=f"DRIFTLINE_{next(iter(setting))}"):
        build(running)
