"""Options that several commands have, how their texts are read, and what commands print."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.core.stream.times import YEAR_2100, milliseconds
from flows.errors import ConfigError
from flows.host.printable import printable_json
from flows.pipeline import Dataset, Pipeline

PipelineOption = Annotated[
    str, typer.Option("--pipeline", "-p", help="The pipeline, where the project has several.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="A file to make the data set of, where the pipeline can.")
]

err = Console(stderr=True)


BEGINNING, END = "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"  # of the event times that are taken


def moment(option: str, text: str) -> int:
    """The time (ms) that was given for an option; raises `ConfigError` for anything else."""
    if text == END:
        return YEAR_2100
    try:
        return milliseconds(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text!r} {error}") from None


def print_json(value: object) -> None:
    """Print the value for other programs, whatever the encoding of the terminal."""
    _write(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def print_json_line(value: object) -> None:
    """Print the value as one line of JSON."""
    _write(orjson.dumps(value))


def _write(document: bytes) -> None:
    sys.stdout.buffer.write(printable_json(document) + b"\n")
    sys.stdout.flush()


def dataset(pipeline: Pipeline, events: int | None, data: Path | None) -> Dataset:
    """The data set that the pipeline declares, made of the file `data` if given, or its first `events`."""
    with err.status("reading the data set"):
        return pipeline.load_dataset(events, data)


class progress:  # noqa: N801 (used as a function)
    """A progress bar on standard error; gives the function that advances it."""

    def __init__(self, what: str, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=err, disable=not err.is_terminal)
        self._task = self._progress.add_task(what, total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        return lambda steps: self._progress.advance(self._task, steps)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
