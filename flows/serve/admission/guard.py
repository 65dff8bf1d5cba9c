"""What applies to every request: tokens, limits, the audit log and security headers."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.core.serving.access.callers import ANONYMOUS, Credentials, caller
from flows.core.serving.access.rate_limit import RateLimit
from flows.core.serving.access.requests import Needed, needed
from flows.errors import ConfigError, InvalidRequest, NotAllowed
from flows.runtime.access.token_file import TokenFile
from flows.serve.admission.audit import AuditLog, why_of
from flows.serve.admission.paths import path_of
from flows.serve.problems import Problem, error_response, retry_later

MOST_REQUESTS = 512  # in progress at once; more are refused, so that memory is bounded
MOST_OF_CALLER = 384  # of those of one caller, so that others get in
SLOWEST = 30.0  # seconds until the next part of a body
LONGEST = 120.0  # seconds until the whole body
MOST_HELD = 2**28  # bytes of the bodies of all requests in progress; more are refused

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PART = 2**16  # bytes of an answer; what a slow client does not take would wait in memory
_TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}
_AUDITED = (400, 401, 403, 413, 429)


class Guard:
    """An ASGI application around another one.

    It refuses requests that `caller` does not allow. `largest` is the limit of a body in bytes.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: TokenFile,
        audit: AuditLog,
        rate: float,
        largest: int,
        *,
        is_local: bool,
        has_tls: bool,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._audit = audit
        self._limit = RateLimit(rate)
        self._largest = largest
        self._is_local = is_local
        headers = {**_HEADERS, **(_TLS_HEADERS if has_tls else {})}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._in_progress = 0
        self._of_callers: Counter[str] = Counter()  # requests in progress
        self._held = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _Request(self, scope, receive, send).answer()
        # no route accepts a web socket: returning without an answer refuses it

    def caller(self, headers: Headers, wanted: Needed | None) -> str:
        """Return who asks; raises a `Problem` unless the request is allowed."""
        if wanted is None:
            return ANONYMOUS
        given = Credentials(headers.get("authorization", ""), headers.get("host", ""))
        try:
            tokens, now = self._tokens.read(), time.time_ns() // 1_000_000
            return caller(tokens, given, wanted, now, is_local=self._is_local)
        except ConfigError as error:
            raise Problem(503, str(error)) from None
        except NotAllowed as refusal:
            raise Problem(refusal.status, str(refusal), refusal.headers) from None

    def check_limits(self, who: str, headers: Headers) -> None:
        """Raise a `Problem` if the caller asks too often, or the body is too large."""
        if (wait := self._limit.wait(who, time.monotonic())) > 0:
            raise retry_later("too many requests of this caller", ceil(wait), 429)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or float(length) > self._largest:
            raise self.too_large()

    def too_large(self) -> Problem:
        """Return the problem of a body that is too large."""
        return Problem(413, f"the body must be at most {self._largest:,} bytes")

    @property
    def largest(self) -> int:
        """The limit of a body in bytes."""
        return self._largest


class _Request:
    """One request on its way through the guard."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard = guard
        self._scope = scope
        self._receive = receive
        self._send = send
        self._needed = _needed(scope)
        self._address = (scope.get("client") or ("", 0))[0]
        self._who: str | None = None
        self._counted: str | None = None
        self._status = 500
        self._why = ""
        self._size = 0
        self._begun = time.monotonic()
        self._is_received = False
        self._is_noted = False

    async def answer(self) -> None:
        """Answer the request; note it in the audit log before, if it is to be there."""
        guard = self._guard
        guard._in_progress += 1
        try:
            self._admit()
            await guard._app(self._scope, self._sized, self._with_headers)
        except Problem as problem:
            self._why = str(problem)
            response = error_response(problem.status, str(problem), problem.headers)
            await response(self._scope, self._receive, self._with_headers)
        finally:
            guard._in_progress -= 1
            guard._held -= self._size
            self._uncount()
            self._note()  # of a request without an answer

    def _uncount(self) -> None:
        counts, counted = self._guard._of_callers, self._counted
        if counted is not None:
            counts[counted] -= 1
            if not counts[counted]:
                del counts[counted]

    def _admit(self) -> None:
        """Set the caller; raises a `Problem` unless the request is allowed."""
        guard, headers = self._guard, Headers(scope=self._scope)
        if guard._in_progress > MOST_REQUESTS:
            raise retry_later(f"{MOST_REQUESTS:,} requests are in progress")
        try:
            self._who = guard.caller(headers, self._needed)
        except Problem:
            guard.check_limits(f"address {self._address}", headers)
            raise
        counted = f"token {self._who}" if self._who != ANONYMOUS else f"address {self._address}"
        guard.check_limits(counted, headers)
        if guard._of_callers[counted] >= MOST_OF_CALLER:
            raise retry_later(f"{MOST_OF_CALLER:,} requests of this caller are in progress", status=429)
        guard._of_callers[counted] += 1
        self._counted = counted
        self._scope.setdefault("state", {})["caller"] = self._who

    async def _sized(self) -> Message:
        """Receive the next part of the body; raises a `Problem` if it is too large or too slow."""
        if self._is_received:
            return await self._receive()  # the end of the connection
        left = self._begun + LONGEST - time.monotonic()
        try:
            async with asyncio.timeout(min(SLOWEST, left)):
                message = await self._receive()
        except TimeoutError:
            raise Problem(
                408, f"each part of the body must come within {SLOWEST:g} s, and all within {LONGEST:g} s"
            ) from None
        self._is_received = not message.get("more_body", False)
        self._hold(len(message.get("body", b"")))
        return message

    def _hold(self, size: int) -> None:
        """Count bytes of the body; raises a `Problem` if it, or those of all requests, are too many."""
        guard = self._guard
        self._size += size
        guard._held += size
        if self._size > guard.largest:
            raise guard.too_large()
        if guard._held > max(MOST_HELD, guard.largest):
            raise retry_later(f"the requests in progress have {MOST_HELD:,} bytes")

    async def _with_headers(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            given = {name for name, _ in message["headers"]}
            added = (each for each in self._guard._headers if each[0] not in given)
            message["headers"] = [*message["headers"], *added]  # the page has a policy of its own
            self._note()
        elif message["type"] == "http.response.body":
            message = await self._sent_in_parts(message)
        await self._send(message)

    async def _sent_in_parts(self, message: Message) -> Message:
        """Send all but the last part of a body, as fast as the client takes them; return the last part."""
        body = memoryview(message.get("body", b""))
        if len(body) <= _PART:
            return message
        while len(body) > _PART:
            await self._send({"type": message["type"], "body": bytes(body[:_PART]), "more_body": True})
            body = body[_PART:]
        return {**message, "body": bytes(body)}

    def _note(self) -> None:
        if self._is_noted:
            return
        self._is_noted = True
        operates = self._needed is not None and self._needed.scope == "operate"
        if operates or self._status in _AUDITED:
            method, path = self._scope["method"], self._scope["path"]
            who = None if self._who == ANONYMOUS else self._who
            why = self._why or why_of(self._scope)
            self._guard._audit.write(method, path, self._status, who, self._address, why)


def _needed(scope: Scope) -> Needed | None:
    try:
        return needed(scope["method"], path_of(scope))
    except InvalidRequest:  # the application says so
        return Needed(None, "")


def caller_of(state: Mapping[str, Any]) -> str:
    """Return who asks, for what is recorded about a request."""
    name: str = state["caller"]
    return name
