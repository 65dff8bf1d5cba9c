"""Which route answers a path, by the path as it was sent: before percent-decoding."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import Response
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.core.serving.access.paths import canonical, encoded_segment, segment
from flows.errors import InvalidRequest
from flows.serve.problems import error_response


class _Segment(Convertor[str]):
    """A parameter that is one segment of a canonical path, such as `{event_id:segment}`."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return segment(value)

    def to_string(self, value: str) -> str:
        return encoded_segment(value)


register_url_convertor("segment", _Segment())


def path_of(scope: Scope) -> str:
    """Return the canonical path of a request; raises `InvalidRequest`."""
    raw: bytes | None = scope.get("raw_path")
    return canonical(quote(scope["path"]) if raw is None else raw.decode("latin-1"))


class _Resource(NamedTuple):
    """A path of the routes, and its methods."""

    regex: re.Pattern[str]
    parameters: int
    methods: set[str]


class Paths:
    """An ASGI application around one with these routes, which then sees canonical paths.

    As OpenAPI says, of several paths that match, the one with the fewest parameters is meant. Another method
    than those of its routes is answered with 405 and their names. HEAD is answered as GET, without the body.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        found: dict[str, _Resource] = {}
        for route in routes:
            if isinstance(route, Route):
                new = _Resource(route.path_regex, len(route.param_convertors), set())
                found.setdefault(route.path, new).methods.update(route.methods or ())
        self._resources = sorted(found.values(), key=lambda each: each.parameters)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            path = path_of(scope)
        except InvalidRequest as fault:
            await error_response(400, str(fault))(scope, receive, send)
            return
        if (refusal := self._refusal(scope["method"], path)) is not None:
            await refusal(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._app({**scope, "path": path, "method": "GET"}, receive, _Head(send))
        else:
            await self._app({**scope, "path": path}, receive, send)

    def _refusal(self, method: str, path: str) -> Response | None:
        meant = next((each for each in self._resources if each.regex.match(path)), None)
        if meant is None:
            return error_response(404, f"there is nothing at {path!r:.200}; /openapi.json lists the paths")
        allowed = meant.methods | ({"HEAD"} if "GET" in meant.methods else set())
        if method in allowed:
            return None
        listed = ", ".join(sorted(allowed))
        return error_response(405, f"the method must be one of {listed}, got {method}", {"Allow": listed})


class _Head:
    """Sends the head of an answer, and ends it there."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._has_ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(message)
        elif not self._has_ended:
            self._has_ended = True
            end: dict[str, Any] = {"type": "http.response.body", "body": b""}
            await self._send(end)
