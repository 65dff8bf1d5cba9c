"""What commands print: notes, warnings and progress on standard error, JSON on standard output."""

import sys
from collections.abc import Callable

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from flows.errors import DriftlineError
from flows.host.printable import printable, printable_json

err = Console(stderr=True)


def print_error(text: str) -> None:
    """Print an error as one line."""
    err.print(Text.assemble(("driftline:", "red"), f" {printable(text)}"), soft_wrap=True)


def exit_code_of(command: Callable[[], object]) -> int:
    """Run `command` and return 0, or print its `DriftlineError` as one line and return the exit code."""
    try:
        command()
    except DriftlineError as error:
        from flows.runtime.runner import EXIT_FAULT, EXIT_MISTAKE, MISTAKES

        print_error(str(error))
        return EXIT_MISTAKE if isinstance(error, MISTAKES) else EXIT_FAULT
    return 0


def warn(text: str) -> None:
    """Print a warning as one line."""
    err.print(Text.assemble(("driftline: warning:", "yellow"), f" {printable(text)}"), soft_wrap=True)


def note(text: str) -> None:
    """Print a line that is not part of the result."""
    err.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print `value` as indented JSON in UTF-8, independent of the terminal's encoding."""
    _write(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def print_json_line(value: object) -> None:
    """Print `value` as one line of JSON in UTF-8."""
    _write(orjson.dumps(value))


def _write(document: bytes) -> None:
    sys.stdout.buffer.write(printable_json(document) + b"\n")
    sys.stdout.flush()


class progress:  # noqa: N801 (used as a function)
    """A progress bar on standard error; entering it gives the function that advances it."""

    def __init__(self, task: str, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=err, disable=not err.is_terminal)
        self._task = self._progress.add_task(task, total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        return lambda steps: self._progress.advance(self._task, steps)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
