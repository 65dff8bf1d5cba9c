"""Options that several commands have, how their texts are read, and how JSON is printed."""

import sys
from typing import Annotated

import orjson
import typer

from flows.core.schema import YEAR_2100, milliseconds
from flows.errors import ConfigError

PipelineOption = Annotated[
    str, typer.Option("--pipeline", "-p", help="The pipeline, where the project has several.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.flush()
