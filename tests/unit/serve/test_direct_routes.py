"""The short way of the most frequent requests, around an application that answers all others."""

import asyncio
import logging
from typing import Any
from urllib.parse import unquote

import orjson
import pytest

from flows.serve.direct_routes import DirectRoutes
from flows.serve.problems import Problem

ELSEWHERE = b"elsewhere"


class Pipelines:
    """Fails as it is told when a pipeline is asked for, which is the first thing that a route does."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def caught_up(self, name: str) -> Any:
        raise self._error


async def elsewhere(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": ELSEWHERE})


def scope_of(raw_path: str, method: str = "POST", query: bytes = b"") -> dict[str, Any]:
    paths = {"path": unquote(raw_path), "raw_path": raw_path.encode()}
    return {"type": "http", "method": method, **paths, "query_string": query, "headers": []}


def ask(path: str, error: Exception, method: str = "POST", query: bytes = b"") -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    routes: Any = DirectRoutes(elsewhere, Pipelines(error))  # type: ignore[arg-type]
    asyncio.run(routes(scope_of(path, method, query), receive, send))
    return sent[0]["status"], sent[1]["body"]


UNKNOWN = Problem(404, "no such pipeline", {"X-Why": "test"})


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v2/models/m/infer", b""),
        ("/v1/m/events", b""),
        ("/v1/m/events", b"wait=0.5"),
        ("/v1/m/events", b"wait=60"),
        ("/v1/m/labels", b""),
    ],
)
def test_a_plain_request_goes_the_short_way_and_its_problem_is_the_answer(path, query):
    status, body = ask(path, UNKNOWN, query=query)
    assert (status, orjson.loads(body)) == (404, {"error": "no such pipeline"})


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/v2/models/m/infer", b""),
        ("POST", "/v2/models/m/infer", b"a=1"),
        ("POST", "/v2/models/m/versions/v1/infer", b""),
        ("POST", "/v2/models/m/infer/", b""),
        ("POST", "/v1/m/events", b"wait=0.05"),
        ("POST", "/v1/m/events", b"wait=61"),
        ("POST", "/v1/m/events", b"wait=nan"),
        ("POST", "/v1/m/events", b"wait=1&wait=2"),
        ("POST", "/v1/m/labels", b"wait=1"),
        ("POST", "/v1/m/models/freeze", b""),
        ("POST", "/v1/m%2Flabels", b""),  # one segment, so the guard sees no publishing
    ],
)
def test_a_request_of_another_form_goes_to_the_framework(method, path, query):
    assert ask(path, UNKNOWN, method, query) == (200, ELSEWHERE)


def test_a_fault_of_the_server_is_logged_and_not_told(caplog):
    with caplog.at_level(logging.ERROR):
        status, body = ask("/v1/m/labels", RuntimeError("secret"))
    assert (status, b"secret" in body) == (500, False)
    assert "POST /v1/m/labels failed" in caplog.text
    assert "secret" in caplog.text


def test_a_caller_that_goes_before_its_body_is_there_gets_no_answer(caplog):
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    class Served:
        async def caught_up(self, name: str) -> None:
            return None

    routes: Any = DirectRoutes(elsewhere, Served())  # type: ignore[arg-type]
    asyncio.run(routes(scope_of("/v1/m/labels"), receive, send))
    assert sent == []
    assert caplog.text == ""
