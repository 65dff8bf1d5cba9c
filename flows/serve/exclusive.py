"""Requests that take seconds, of which a few at a time are carried out."""

from collections.abc import Callable
from functools import partial
from threading import Semaphore
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from flows.serve.problems import retry_later

P = ParamSpec("P")
R = TypeVar("R")


class Exclusive:
    """Calls in threads, at most `most` at a time."""

    def __init__(self, most: int = 1) -> None:
        self._places = Semaphore(most)

    async def run(self, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Return what the call returns; raises a `Problem` with the status 503 during another call."""
        return await run_in_threadpool(self._alone, partial(call, *arguments, **named))

    def _alone(self, call: Callable[[], R]) -> R:
        if not self._places.acquire(blocking=False):
            raise retry_later("other such requests are in progress; ask again")
        try:
            return call()
        finally:
            self._places.release()
