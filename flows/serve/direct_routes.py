"""The most frequent requests, on a short way to their answers.

FastAPI tries its routes one after the other, solves dependencies and checks parameters, which together takes
longer than scoring a row. A request of another form than the plain one goes that way, and so do all others.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.serve.problems import KNOWN, answer_to, unexpected_answer
from flows.serve.routes.inference import infer
from flows.serve.routes.records import LONGEST_WAIT, SHORTEST_WAIT, publish_events, publish_labels
from flows.serve.served_pipeline import ServedPipeline, ServedPipelines

_WAIT = re.compile(rb"wait=(\d{1,2}(?:\.\d{1,3})?)")

_Handler = Callable[[Request, ServedPipeline], Awaitable[Response]]


class DirectRoutes:
    """An ASGI application around the one that answers all other requests."""

    def __init__(self, app: ASGIApp, pipelines: ServedPipelines) -> None:
        self._app = app
        self._pipelines = pipelines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handler(scope) if scope.get("method") == "POST" and _is_plain(scope) else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await handler(Request(scope, receive))
        except ClientDisconnect:
            return  # nobody is there to answer
        except KNOWN as error:
            response = answer_to(error)
        except Exception as error:
            response = unexpected_answer(scope["method"], scope["path"], error)
        await response(scope, receive, send)

    def _handler(self, scope: Scope) -> Callable[[Request], Awaitable[Response]] | None:
        """Return what answers the request, None if it goes the other way."""
        query = scope["query_string"]
        match scope["path"].split("/"):
            case ["", "v2", "models", name, "infer"] if not query:
                return partial(self._answer, name, infer)
            case ["", "v1", name, "labels"] if not query:
                return partial(self._answer, name, publish_labels)
            case ["", "v1", name, "events"] if not query:
                return partial(self._answer, name, publish_events)
            case ["", "v1", name, "events"] if (wait := _wait(query)) is not None:
                return partial(self._answer, name, partial(publish_events, wait=wait))
        return None

    async def _answer(self, name: str, handler: _Handler, request: Request) -> Response:
        return await handler(request, await self._pipelines.caught_up(name))


def _is_plain(scope: Scope) -> bool:
    """Return whether the path has nothing to decode, so that it is the one that the guard has admitted."""
    raw: bytes = scope.get("raw_path") or b"%"
    return b"%" not in raw


def _wait(query: bytes) -> float | None:
    """Return the only parameter `wait`, None for another query or another value.

    >>> _wait(b"wait=2.5"), _wait(b"wait=0"), _wait(b"wait=1&wait=2"), _wait(b"wait=1e1")
    (2.5, None, None, None)
    """
    found = _WAIT.fullmatch(query)
    wait = float(found[1]) if found else 0.0
    return wait if SHORTEST_WAIT <= wait <= LONGEST_WAIT else None
