"""What applies to every request: tokens, limits, the audit log and security headers."""

import asyncio
import time
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from math import ceil
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.core.serving.access.rate_limit import RateLimit
from flows.core.serving.access.requests import Needed, needed
from flows.core.serving.access.tokens import Token
from flows.errors import ConfigError
from flows.serve.audit import AuditLog, why_of
from flows.serve.problems import Problem, error_response, retry_later
from flows.serve.token_file import TokenFile

MOST_REQUESTS = 512  # in progress at once; more are refused, so that memory is bounded
SLOWEST = 30.0  # seconds until the next part of a body
ANONYMOUS = "anonymous"  # the caller, where no token is required

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}
_AUDITED = (400, 401, 403, 413, 429)


class Guard:
    """An ASGI application around another one.

    Without any token in the file, a server that `is_local` answers every request but those that operate; then
    the request must name a loopback address as its host, since a page of another site could otherwise reach
    the server by a name of its own. `largest` is the limit of a body in bytes.
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
        try:
            tokens = self._tokens.read()
        except ConfigError as error:
            raise Problem(503, str(error)) from None
        if not tokens.all and self._is_local and wanted.scope != "operate":
            _check_host(headers.get("host", ""))
            return ANONYMOUS
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise _unauthorized("this needs a token: send the header `Authorization: Bearer TOKEN`")
        token = tokens.find(secret.strip(), time.time_ns() // 1_000_000)
        if token is None:
            raise _unauthorized("the token is not known, or it has expired")
        _check_scope(token, wanted)
        return token.name

    def check_limits(self, who: str, headers: Headers) -> None:
        """Raise a `Problem` if the caller asks too often, or the body is too large."""
        if (wait := self._limit.wait(who, time.monotonic())) > 0:
            raise retry_later("too many requests of this caller", ceil(wait), 429)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._largest:
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
        self._needed = needed(scope["method"], scope["path"])
        self._address = (scope.get("client") or ("", 0))[0]
        self._who: str | None = None
        self._status = 500
        self._why = ""
        self._size = 0
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
            self._note()  # of a request without an answer

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
        is_token = self._who != ANONYMOUS
        guard.check_limits(f"token {self._who}" if is_token else f"address {self._address}", headers)
        self._scope.setdefault("state", {})["caller"] = self._who

    async def _sized(self) -> Message:
        """Receive the next part of the body; raises a `Problem` if it is too large or too slow."""
        if self._is_received:
            return await self._receive()  # the end of the connection
        try:
            async with asyncio.timeout(SLOWEST):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, f"the next part of the body must come within {SLOWEST:g} s") from None
        self._is_received = not message.get("more_body", False)
        self._size += len(message.get("body", b""))
        if self._size > self._guard.largest:
            raise self._guard.too_large()
        return message

    async def _with_headers(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            given = {name for name, _ in message["headers"]}
            added = (each for each in self._guard._headers if each[0] not in given)
            message["headers"] = [*message["headers"], *added]  # the page has a policy of its own
            self._note()
        await self._send(message)

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


def _check_scope(token: Token, wanted: Needed) -> None:
    if wanted.scope is not None and not token.allows(wanted.scope, wanted.pipeline):
        on = f" on pipeline {wanted.pipeline!r}" if wanted.pipeline else ""
        raise Problem(
            403,
            f"the token {token.name!r} must have the scope {wanted.scope!r}{on}",
            {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{wanted.scope}"'},
        )


def _unauthorized(text: str) -> Problem:
    return Problem(401, text, {"WWW-Authenticate": "Bearer"})


@lru_cache(maxsize=256)
def _names_loopback(host: str) -> bool:
    """Return whether the value of the header `Host` names this machine by its loopback address."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _check_host(host: str) -> None:
    if not _names_loopback(host):
        raise Problem(403, f"the header Host must name a loopback address, got {host!r}; or make a token")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its loopback address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("example.org")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def caller_of(state: Mapping[str, Any]) -> str:
    """Return who asks, for what is recorded about a request."""
    name: str = state["caller"]
    return name
