"""Errors as answers: a JSON object with the member `error`."""

import logging
from collections.abc import Mapping

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from flows.errors import (
    AccessDenied,
    BrokerError,
    CommandRefused,
    DriftlineError,
    InvalidRecord,
    InvalidRequest,
    RecordTooLarge,
    SnapshotError,
    StoreError,
    UnknownVersion,
)

RETRY_AFTER = 1  # seconds

_log = logging.getLogger("driftline.serve")

# the first class that an error is of decides
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (InvalidRequest, 400),
    (InvalidRecord, 422),
    (UnknownVersion, 404),
    (CommandRefused, 409),
    (SnapshotError, 409),
    (RecordTooLarge, 413),
    (AccessDenied, 500),
    (BrokerError, 503),
    (StoreError, 503),
    (DriftlineError, 500),
)


class Problem(Exception):
    """A request cannot be answered; `status` and `headers` are those of the answer."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = dict(headers or {})


KNOWN = (Problem, InvalidRequest, InvalidRecord, DriftlineError)


def retry_later(text: str, seconds: int = RETRY_AFTER, status: int = 503) -> Problem:
    """Return the problem of a request that may succeed after so many seconds."""
    return Problem(status, text, {"Retry-After": str(seconds)})


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to a request that failed."""
    return json_response({"error": text}, status, headers)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON."""
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/json")


def status_of(error: Exception) -> int:
    """Return the status of the answer to an error of the engine."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def answer_to(error: Exception) -> Response:
    """Return the answer to a request that failed with one of the `KNOWN` errors."""
    if isinstance(error, Problem):
        return error_response(error.status, str(error), error.headers)
    status = status_of(error)
    return error_response(status, str(error), {"Retry-After": str(RETRY_AFTER)} if status == 503 else None)


def unexpected_answer(method: str, path: str, error: Exception) -> Response:
    """Log an error that is a fault of the server, and return the answer to its request."""
    _log.error("%s %s failed", method, path, exc_info=error)
    return error_response(500, "internal error; the server's log has the details")


def add_handlers(app: FastAPI) -> None:
    """Let `app` answer every error as this module says."""

    async def known(_: Request, error: Exception) -> Response:
        return answer_to(error)

    async def of_framework(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return error_response(error.status_code, str(error.detail), error.headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        return error_response(400, f"{where}: {found['msg']}")

    async def gone(_: Request, __: Exception) -> Response:
        return error_response(408, "the client is gone")  # nobody reads it

    async def unexpected(request: Request, error: Exception) -> Response:
        return unexpected_answer(request.method, request.url.path, error)

    for kind in KNOWN:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, unexpected)
