"""How long a command waits without progress before it says so, and before it fails."""

import time
from collections.abc import Callable
from typing import NamedTuple

from flows.errors import DriftlineError

SAID_AFTER = 3.0  # seconds without progress before the reason is printed


class Stall(NamedTuple):
    """The reason for waiting, with advice, and the timeout in seconds."""

    reason: str
    seconds: float


class Patience:
    """Reports waits through `say`; raises `DriftlineError` after too long without progress."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._stalled: Stall | None = None
        self._moved_at = time.monotonic()

    def moved(self) -> None:
        """Record progress: the wait starts again."""
        self._moved_at = time.monotonic()
        self._stalled = None

    def wait(self, seconds: float, stall: Callable[[], Stall]) -> None:
        """Sleep for `seconds`; `stall` returns the reason, if it is needed."""
        waited = time.monotonic() - self._moved_at
        if waited > SAID_AFTER and self._stalled is None:
            self._stalled = stall()
            self._say(f"waiting: {self._stalled.reason}")
        if self._stalled is not None and waited > self._stalled.seconds:
            self._stalled = stall()  # the reason may have changed
            if waited > self._stalled.seconds:
                raise DriftlineError(f"no progress for {waited:,.0f} s: {self._stalled.reason}")
        time.sleep(seconds)
