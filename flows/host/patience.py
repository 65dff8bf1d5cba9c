"""How long a command waits for others without a word, and when it gives up."""

import time
from collections.abc import Callable
from typing import NamedTuple

from flows.errors import DriftlineError

SAID_AFTER = 3.0  # seconds without progress after which a person is told what is waited for


class Stall(NamedTuple):
    """What is waited for, with what a person can do about it, and for how many seconds at most."""

    reason: str
    seconds: float


class Patience:
    """Says, by `say`, what is waited for; raises `DriftlineError` when nothing moves for too long."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._stalled: Stall | None = None
        self._moved_at = time.monotonic()

    def moved(self) -> None:
        """Count the time from now on."""
        self._moved_at = time.monotonic()
        self._stalled = None

    def wait(self, seconds: float, stall: Callable[[], Stall]) -> None:
        """Sleep for `seconds`; `stall` says why."""
        waited = time.monotonic() - self._moved_at
        if waited > SAID_AFTER and self._stalled is None:
            self._stalled = stall()
            self._say(f"waiting: {self._stalled.reason}")
        if self._stalled is not None and waited > self._stalled.seconds:
            self._stalled = stall()  # what held it up may have changed
            if waited > self._stalled.seconds:
                raise DriftlineError(f"nothing moved for {waited:,.0f} s: {self._stalled.reason}")
        time.sleep(seconds)
