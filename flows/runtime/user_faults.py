"""How faults of the user's own code are shown: each failing line once, with its traceback."""

import logging
import traceback
from typing import NamedTuple

from flows.core.user_code import CodePlace, describe, is_ours, place_of

_MOST = 1000  # failing lines that are remembered


def trace(error: BaseException) -> str:
    """The traceback of `error` from the first frame outside the engine on; "" where there is none."""
    step = error.__traceback__
    while step is not None and is_ours(step.tb_frame):
        step = step.tb_next
    if step is None:
        return ""
    return "".join(traceback.format_exception(type(error), error, step)).rstrip()


class Fault(NamedTuple):
    """An error of the user's own code, ready to be shown: what was raised, and where.

    `file`, `line` and `function` are None where no line of the user's own is in the traceback.
    """

    error: str
    file: str | None
    line: int | None
    function: str | None
    traceback: str


def fault_of(error: BaseException) -> Fault:
    """The error with its place and its traceback."""
    place, raised = place_of(error), f"{type(error).__name__}: {error}"
    if place is None:
        return Fault(raised, None, None, None, trace(error))
    return Fault(raised, place.file, place.line, place.function, trace(error))


class FaultLog:
    """Logs each failing line of the user's code once; called with each error."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._logged: set[tuple[str, CodePlace | None]] = set()

    def __call__(self, error: BaseException) -> None:
        """Log the error, unless one of its type was logged for the same line."""
        known = type(error).__name__, place_of(error)
        if known in self._logged or len(self._logged) >= _MOST:
            return
        self._logged.add(known)
        self._log.error(
            "%s; each such record becomes a dead letter, and this is logged once\n%s",
            describe(error),
            trace(error) or "The traceback has no line of your own: look at the values that the model got.",
        )
