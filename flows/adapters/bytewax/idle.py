"""How long the sources of a worker sleep when there is nothing to do.

Bytewax asks each source for records in a loop, and wakes up every millisecond when they return none. So a
source that has none blocks until a record arrives, and the worker with it.
"""

import threading
import time
from collections.abc import Hashable
from datetime import UTC, datetime
from math import inf
from typing import NamedTuple, Protocol

from flows.core.stream.broker import Broker, Consumer

ALONE = 0.2  # seconds that a flow's only worker sleeps at most: a signal is handled afterwards
SHORT = 0.003  # that a worker sleeps which may have other work
_SHORTEST = 0.001  # so that a timer that is late does not keep the worker busy


class Unfinished(Protocol):
    """Something that has work in progress, which must be looked after."""

    def is_unfinished(self) -> bool: ...


class _Quiet(NamedTuple):
    """A slot without records, which rests until a moment by the monotonic clock, or has work then."""

    consumer: Consumer | None
    until: float


class Idle:
    """Lets the workers of a flow sleep, at most `longest` seconds.

    A worker that gets records from other workers must not sleep: Bytewax cannot wake it.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._workers: dict[int, WorkerIdle] = {}

    def of_worker(self) -> "WorkerIdle":
        """Return what the sources, the sinks and the steps of this thread, which is a worker, share."""
        # not a `threading.local`, which a thread of Bytewax loses between two calls
        return self._workers.setdefault(threading.get_ident(), WorkerIdle(self._longest))


class WorkerIdle:
    """Lets the sources of one worker sleep while none of them has records."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._epochs: dict[Hashable, int] = {}  # ended by each slot
        self._quiet: dict[Hashable, _Quiet] = {}
        self._timers: dict[Hashable, float] = {}  # by the monotonic clock
        self._unfinished: dict[Hashable, Unfinished] = {}

    def add_slot(self, slot: Hashable) -> None:
        """Take the slot's records into account before the worker sleeps."""
        self._epochs[slot] = 0

    def remove_slot(self, slot: Hashable) -> None:
        """Forget the slot."""
        self._epochs.pop(slot, None)
        self._quiet.clear()

    def end_epoch(self, slot: Hashable) -> None:
        """Record that the slot ended an epoch; until all slots have, the worker only naps."""
        self._epochs[slot] += 1

    def watch(self, key: Hashable, unfinished: Unfinished | None) -> None:
        """Only nap while something has work in progress; None ends that."""
        self._unfinished.pop(key, None)
        if unfinished is not None:
            self._unfinished[key] = unfinished

    def set_timer(self, key: Hashable, due: datetime | None) -> None:
        """Sleep no longer than until `due`, the time of a step's timer; None for no timer."""
        self._timers.pop(key, None)
        if due is not None:
            self._timers[key] = time.monotonic() + (due - datetime.now(UTC)).total_seconds()

    def has_records(self) -> None:
        """Record that a slot has records: every slot is asked again before the worker sleeps."""
        self._quiet.clear()

    def rest(self, slot: Hashable, broker: Broker, consumer: Consumer | None, until: float = inf) -> bool:
        """Sleep if no slot of the worker has records; return whether the worker has slept.

        A slot without a `consumer` waits for no record. No slot sleeps past its `until`.
        """
        self._quiet[slot] = _Quiet(consumer, until)
        if len(self._quiet) < len(self._epochs):
            return False
        seconds = self._seconds()
        consumers = [quiet.consumer for quiet in self._quiet.values() if quiet.consumer is not None]
        self._quiet.clear()
        if consumers:
            broker.wait(consumers, seconds)
        else:
            time.sleep(seconds)
        return True

    def _seconds(self) -> float:
        is_busy = any(each.is_unfinished() for each in list(self._unfinished.values()))
        longest = SHORT if is_busy or len(set(self._epochs.values())) > 1 else self._longest
        moments = [quiet.until for quiet in self._quiet.values()] + list(self._timers.values())
        return max(_SHORTEST, min(longest, min(moments) - time.monotonic()))
