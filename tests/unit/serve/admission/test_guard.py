"""The guard of the server, around an application that reads the body and answers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.runtime.access.token_file import TokenFile
from flows.serve.admission import guard as guarding
from flows.serve.admission.audit import FILE, AuditLog
from flows.serve.admission.guard import Guard

LOCAL = [(b"host", b"127.0.0.1:80")]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the caller after the whole body."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["state"]["caller"].encode()})


@pytest.fixture
def audit(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path)


def guard(
    tmp_path: Path, audit: AuditLog, app: Any = echo, rate: float = 100.0, is_local: bool = True
) -> Guard:
    return Guard(app, TokenFile(tmp_path / "t.json"), audit, rate, 10, is_local=is_local, has_tls=False)


async def ask(
    of: Guard, receive: Callable[[], Awaitable[Any]], path: str = "/v2/models/m", headers: Any = LOCAL
) -> tuple[int, bytes, dict[str, str]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "client": ("127.0.0.1", 5)}
    await of(scope, receive, send)
    start, body = sent
    return start["status"], body["body"], {k.decode(): v.decode() for k, v in start["headers"]}


async def empty() -> Any:
    return {"type": "http.request", "body": b""}


def test_a_request_without_a_token_is_answered_only_where_nobody_else_can_ask(tmp_path, audit):
    status, body, headers = asyncio.run(ask(guard(tmp_path, audit), empty))
    assert (status, body, headers["x-content-type-options"]) == (200, b"anonymous", "nosniff")
    assert asyncio.run(ask(guard(tmp_path, audit, is_local=False), empty))[0] == 401
    (line,) = map(orjson.loads, (tmp_path / FILE).read_text().splitlines())
    assert (line["status"], line["caller"]) == (401, None)


def test_a_request_is_in_the_audit_log_before_it_is_answered(tmp_path, audit):
    lines_at_answer: list[int] = []

    async def send(_: Any) -> None:
        lines_at_answer.append(len((tmp_path / FILE).read_text().splitlines()))

    scope = {"type": "http", "method": "GET", "path": "/v2/models/m", "headers": [], "client": None}
    asyncio.run(guard(tmp_path, audit, is_local=False)(scope, empty, send))
    assert lines_at_answer == [1, 1]


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path, audit, monkeypatch):
    monkeypatch.setattr(guarding, "SLOWEST", 0.01)

    async def never() -> Any:
        await asyncio.Event().wait()

    status, body, _ = asyncio.run(ask(guard(tmp_path, audit), never))
    assert status == 408
    assert b"must come within" in body


def statuses_at_once(of: Guard) -> list[int]:
    """Return the statuses of a request that is held, of one during it, and of one after it."""

    async def crowd() -> list[int]:
        gate = asyncio.Event()

        async def held() -> Any:
            await gate.wait()
            return await empty()

        first = asyncio.create_task(ask(of, held))
        await asyncio.sleep(0)
        second = await ask(of, empty)
        gate.set()
        return [(await first)[0], second[0], (await ask(of, empty))[0]]

    return asyncio.run(crowd())


def test_more_requests_at_once_than_the_limit_are_refused_and_later_ones_are_not(
    tmp_path, audit, monkeypatch
):
    monkeypatch.setattr(guarding, "MOST_REQUESTS", 1)
    assert statuses_at_once(guard(tmp_path, audit)) == [200, 503, 200]


def test_requests_without_a_valid_token_count_too(tmp_path, audit):
    of = guard(tmp_path, audit, rate=1.0, is_local=False)
    statuses = [asyncio.run(ask(of, empty))[0] for _ in range(2)]
    assert statuses == [401, 429]


def test_a_web_socket_is_not_passed_on(tmp_path, audit):
    async def unreachable(*_: Any) -> None:
        raise AssertionError

    asyncio.run(guard(tmp_path, audit, unreachable)({"type": "websocket"}, empty, unreachable))


def parts(count: int, size: int) -> Callable[[], Awaitable[Any]]:
    """Return a client that sends a body in parts."""
    left = [count]

    async def receive() -> Any:
        left[0] -= 1
        return {"type": "http.request", "body": b"x" * size, "more_body": left[0] > 0}

    return receive


def test_bodies_of_all_requests_together_are_limited(tmp_path, audit, monkeypatch):
    monkeypatch.setattr(guarding, "MOST_HELD", 10)

    async def crowd() -> tuple[list[int], int]:
        gate = asyncio.Event()

        async def held() -> Any:
            await gate.wait()
            return {"type": "http.request", "body": b""}

        async def begun() -> Any:
            begun_parts.append(1)
            return await held() if len(begun_parts) > 1 else {
                "type": "http.request", "body": b"x" * 8, "more_body": True}  # fmt: skip

        begun_parts: list[int] = []
        of = guard(tmp_path, audit)
        first = asyncio.create_task(ask(of, begun))
        await asyncio.sleep(0)
        second = await ask(of, parts(1, 3))
        gate.set()
        return [(await first)[0], second[0]], (await ask(of, parts(1, 3)))[0]

    assert asyncio.run(crowd()) == ([200, 503], 200)


def test_a_body_that_comes_in_time_but_never_ends_is_not_waited_for(tmp_path, audit, monkeypatch):
    monkeypatch.setattr(guarding, "LONGEST", 0.01)

    async def trickle() -> Any:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"", "more_body": True}

    assert asyncio.run(ask(guard(tmp_path, audit), trickle))[0] == 408


def test_one_caller_cannot_take_all_places(tmp_path, audit, monkeypatch):
    monkeypatch.setattr(guarding, "MOST_OF_CALLER", 1)
    assert statuses_at_once(guard(tmp_path, audit)) == [200, 429, 200]


def test_a_long_answer_is_sent_in_parts(tmp_path, audit):
    sent: list[Any] = []

    async def long(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(200_000)})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v2", "headers": LOCAL, "client": None}
    asyncio.run(guard(tmp_path, audit, long)(scope, empty, send))
    bodies = [(len(each["body"]), each.get("more_body", False)) for each in sent[1:]]
    assert bodies == [(65_536, True)] * 3 + [(200_000 - 3 * 65_536, False)]
