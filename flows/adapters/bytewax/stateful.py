"""Keyed Bytewax steps from plain objects, whose state is a snapshot in immutable bytes.

The layout of these snapshots is part of `flows.core.stored_format.STATE`, which the recovery store names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic

from flows.adapters.bytewax.idle import Idle, WorkerIdle
from flows.errors import StateTooLarge

LARGEST = 999_000_000  # bytes; Bytewax stores a state as one SQLite value, which may have a billion


class Worker(Protocol):
    """The state of one key; a factory restores it from the bytes of `snapshot`."""

    def take(self, values: list[Any]) -> Iterable[Any]: ...

    def snapshot(self) -> bytes: ...


class TimedWorker(Worker, Protocol):
    """A worker that also emits results when a timer fires, for instance after the last value."""

    def due(self) -> datetime | None:
        """Return the time (UTC) of the next call of `wake`, None for no call."""

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


class _TimedLogic(_Logic):
    def __init__(self, step_id: str, worker: TimedWorker, idle: WorkerIdle) -> None:
        super().__init__(step_id, worker)
        self._timed = worker
        self._idle = idle

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        return self._timed.wake(), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return self._timed.wake(), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        due = self._timed.due()
        self._idle.set_timer(self, due)
        return due


def stateful(step_id: str, up: KeyedStream[Any], make: Callable[[bytes | None], Worker]) -> KeyedStream[Any]:
    """Return a step with one worker for each key, which `make` builds from its snapshot or from None.

    `step_id` is part of the stored state's format: renaming the step orphans its state.
    """
    return op.stateful_batch(step_id, up, lambda state: _Logic(step_id, make(state)))


def timed_stateful(
    step_id: str, up: KeyedStream[Any], make: Callable[[bytes | None], TimedWorker], idle: Idle
) -> KeyedStream[Any]:
    """Return a step like that of `stateful` with timers; for few keys, as Bytewax scans all timers.

    `idle` is that of the flow's source, which must not sleep past a timer.
    """
    return op.stateful_batch(step_id, up, lambda state: _TimedLogic(step_id, make(state), idle.of_worker()))
