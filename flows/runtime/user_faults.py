"""Formats errors of user code, and logs each failing line once."""

import logging
import traceback
from types import TracebackType
from typing import NamedTuple

from flows.core.user_code import CodePlace, describe, is_ours, place_of

_MOST = 1000  # failing lines that are logged


def trace(error: BaseException) -> str:
    """Return the traceback of `error` from the first frame outside the engine on; "" if there is none."""
    step = _first_step(error)
    if step is None:
        return ""
    return "".join(traceback.format_exception(type(error), error, step)).rstrip()


def _first_step(error: BaseException) -> TracebackType | None:
    """Return the part of the traceback of `error` from the first frame outside the engine on."""
    step = error.__traceback__
    while step is not None and is_ours(step.tb_frame):
        step = step.tb_next
    return step


class UserFault(NamedTuple):
    """An error of user code, formatted.

    `file`, `line` and `function` are None if the traceback has no line of user code.
    """

    error: str
    file: str | None
    line: int | None
    function: str | None
    traceback: str


def fault_of(error: BaseException) -> UserFault:
    """Return the error with its place and its traceback."""
    place, raised = place_of(error), f"{type(error).__name__}: {error}"
    if place is None:
        return UserFault(raised, None, None, None, trace(error))
    return UserFault(raised, place.file, place.line, place.function, trace(error))


class FaultLog:
    """Logs each failing line of the user's code once; is called with each error."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._logged: set[tuple[str, CodePlace | None]] = set()

    def __call__(self, error: BaseException) -> None:
        """Log the error, unless an error of its type was logged for the same line."""
        known = type(error).__name__, place_of(error)
        if known in self._logged or len(self._logged) >= _MOST:
            return
        self._logged.add(known)
        step = _first_step(error)
        self._log.error(
            "%s; each such record becomes a dead letter, and this is logged once%s",
            describe(error),
            "" if step else "; no line of your own raised it: check the values that the model got",
            exc_info=step and (type(error), error, step),
        )
