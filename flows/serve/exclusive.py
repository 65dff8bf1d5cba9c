"""Requests that take seconds, of which one at a time is carried out."""

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from flows.serve.problems import retry_later

P = ParamSpec("P")
R = TypeVar("R")


class Exclusive:
    """Calls in a thread, one at a time."""

    def __init__(self) -> None:
        self._lock = Lock()

    async def run(self, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Return what the call returns; raises a `Problem` with the status 503 during another call."""
        return await run_in_threadpool(self._alone, partial(call, *arguments, **named))

    def _alone(self, call: Callable[[], R]) -> R:
        if not self._lock.acquire(blocking=False):
            raise retry_later("another such request is in progress; ask again")
        try:
            return call()
        finally:
            self._lock.release()
