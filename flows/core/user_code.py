"""Where the user's own code failed: a model, a function in front of it, or a transform."""

import sys
from collections.abc import Iterator
from types import FrameType
from typing import NamedTuple

_LIBRARIES = ("site-packages", "dist-packages")
_OURS = "flows"
_EXAMPLES = "flows.pipelines"  # they are written as a user writes them


class CodePlace(NamedTuple):
    """A line of code, and the function that it is in."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """The place for people, without the folders.

        >>> str(CodePlace("/srv/shop/late_orders.py", 12, "prepare"))
        'late_orders.py, line 12, in prepare'
        """
        name = self.file.replace("\\", "/").rpartition("/")[2]
        return f"{name}, line {self.line}, in {self.function}"


def place_of(error: BaseException) -> CodePlace | None:
    """The innermost line outside the engine that `error` came through; None where there is none.

    A line of the user's own goes before one of an installed package, which is what the user's code called.
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
    """The error in one line, with the place in the user's code where there is one."""
    said, place = f"{type(error).__name__}: {error}", place_of(error)
    return said if place is None else f"{said} ({place})"


def is_ours(frame: FrameType) -> bool:
    """Whether it is a frame of the engine, and not of a pipeline that is shipped with it."""
    module = _module(frame)
    return module.partition(".")[0] == _OURS and not f"{module}.".startswith(f"{_EXAMPLES}.")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame, step.tb_lineno
        step = step.tb_next
