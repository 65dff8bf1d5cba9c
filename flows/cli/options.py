"""Options that several commands share, and how their values are read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import err
from flows.errors import ConfigError

if TYPE_CHECKING:
    from flows.pipeline import Dataset, Pipeline

PipelineOption = Annotated[
    str,
    typer.Option(
        "--pipeline",
        "-p",
        metavar="NAME",
        help="The pipeline; required if the project has several and DRIFTLINE_PIPELINE is not set.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
EventsOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Use the first N events of the data set. Default: all.")
]
DataOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File to load the data set from, if the pipeline reads one."),
]

BEGINNING, END = "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"  # the event times accepted


def examples(*commands: str) -> str:
    """Return the examples as the last part of a help text; the first character keeps the line breaks."""
    return "\n".join(("\b", "Examples:", *(f"  {command}" for command in commands)))


def moment(option: str, text: str) -> int:
    """Return the value of a time option in ms; raise `ConfigError` if it is not a time."""
    from flows.core.stream.times import YEAR_2100, milliseconds

    if text == END:
        return YEAR_2100
    try:
        return milliseconds(text)
    except ValueError as error:
        raise ConfigError(f"{option} {error}, got {text!r}; write it as 2013-03-01T00:00:00Z") from None


def dataset(pipeline: "Pipeline", events: int | None, data: Path | None) -> "Dataset":
    """Return the pipeline's data set: its first `events`, or what it makes of the file `data`."""
    with err.status("reading the data set"):
        return pipeline.load_dataset(events, data)
