"""Finds where user code failed: a model, a function used by it, or a transform."""

import sys
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple

_LIBRARIES = ("site-packages", "dist-packages")
_OURS = "flows"
_EXAMPLES = "flows.pipelines"  # these count as user code


class CodePlace(NamedTuple):
    """A line of code and its function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """Return the place for people, without the folders.

        >>> str(CodePlace("/srv/shop/late_orders.py", 12, "prepare"))
        'late_orders.py, line 12, in prepare'
        """
        name = self.file.replace("\\", "/").rpartition("/")[2]
        return f"{name}, line {self.line}, in {self.function}"


def place_of(error: BaseException) -> CodePlace | None:
    """Return the innermost line of user code that `error` passed through; None if there is none.

    The user's own code is preferred to an installed package, which the user's code called.
    """
    installed: CodePlace | None = None
    own: CodePlace | None = None
    for frame, line in _frames(error):
        if is_ours(frame) or _module(frame).partition(".")[0] in sys.stdlib_module_names:
            continue
        place = CodePlace(frame.f_code.co_filename, line, frame.f_code.co_name)
        if any(folder in place.file for folder in _LIBRARIES):
            installed = place
        else:
            own = place
    return own or installed


def describe(error: BaseException) -> str:
    """Return the error in one line, with its place in user code if there is one."""
    text, place = f"{type(error).__name__}: {error}", place_of(error)
    return text if place is None else f"{text} ({place})"


def is_ours(frame: FrameType) -> bool:
    """Return whether the frame is one of the engine; the shipped pipelines are not."""
    module = _module(frame)
    return module.partition(".")[0] == _OURS and not f"{module}.".startswith(f"{_EXAMPLES}.")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame, step.tb_lineno
        step = step.tb_next
