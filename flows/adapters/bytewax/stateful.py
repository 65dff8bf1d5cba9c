"""Keyed Bytewax steps from plain objects: `take` values, give results, `snapshot` to immutable bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic

from flows.errors import StateTooLarge

LARGEST = 999_000_000  # bytes; SQLite, where Bytewax stores a state as one value, takes a billion


class Worker(Protocol):
    """The state of one key; the factory makes the worker anew from what `snapshot` gave."""

    def take(self, values: list[Any]) -> Iterable[Any]: ...

    def snapshot(self) -> bytes: ...


class ExpiringWorker(Worker, Protocol):
    """A worker whose key may be forgotten."""

    def expired(self) -> bool:
        """Whether, after the values just taken, nothing of it is needed any more."""


class TimedWorker(Worker, Protocol):
    """A worker that also gives results when its time has come, for instance after the last value."""

    def due(self) -> datetime | None:
        """When it wants to be woken (UTC), or None."""

    def wake(self) -> Iterable[Any]: ...


class _Logic(StatefulBatchLogic[Any, Any, bytes]):
    def __init__(self, step_id: str, worker: Worker) -> None:
        self._step_id = step_id
        self._worker = worker

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        return self._worker.take(values), StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        state = self._worker.snapshot()
        if len(state) > LARGEST:
            raise StateTooLarge(self._step_id, len(state), LARGEST)
        return state


class _ExpiringLogic(_Logic):
    def __init__(self, step_id: str, worker: ExpiringWorker) -> None:
        super().__init__(step_id, worker)
        self._expiring = worker

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        results = self._expiring.take(values)
        return results, self._expiring.expired()  # True is DISCARD


class _TimedLogic(_Logic):
    def __init__(self, step_id: str, worker: TimedWorker) -> None:
        super().__init__(step_id, worker)
        self._timed = worker

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        return self._timed.wake(), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return self._timed.wake(), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return self._timed.due()


def stateful(step_id: str, up: KeyedStream[Any], make: Callable[[bytes | None], Worker]) -> KeyedStream[Any]:
    """A step whose state for each key is the worker that `make` builds, from a snapshot or anew.

    `step_id` is part of the stored state's format: renaming the step orphans its state.
    """
    return op.stateful_batch(step_id, up, lambda state: _Logic(step_id, make(state)))


def expiring_stateful(
    step_id: str, up: KeyedStream[Any], make: Callable[[bytes | None], ExpiringWorker]
) -> KeyedStream[Any]:
    """Like `stateful`, but the state of a key is discarded when its worker says so."""
    return op.stateful_batch(step_id, up, lambda state: _ExpiringLogic(step_id, make(state)))


def timed_stateful(
    step_id: str, up: KeyedStream[Any], make: Callable[[bytes | None], TimedWorker]
) -> KeyedStream[Any]:
    """Like `stateful`, for few keys: Bytewax looks at every key's timer each time."""
    return op.stateful_batch(step_id, up, lambda state: _TimedLogic(step_id, make(state)))
