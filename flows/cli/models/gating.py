"""`driftline models gate`: whether the declared change may be served."""

import tomllib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import orjson
import typer

from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import err, print_json, progress, warn
from flows.errors import ConfigError
from flows.host.tables import console, print_line, print_table

if TYPE_CHECKING:
    from flows.core.evaluation.gates import CheckedGate, ModelGate
    from flows.pipeline import Pipeline
    from flows.runtime.engine import Engine

commands = typer.Typer()

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The gates: a TOML file, or JSON if its name ends in .json.")
]


class Gated(NamedTuple):
    """The labels that were compared, and the gates."""

    labels: int
    gates: "list[CheckedGate]"

    @property
    def passed(self) -> bool:
        """Whether all gates are passed."""
        return all(gate.passed for gate in self.gates)


@commands.command(
    "gate", epilog=examples("driftline models gate gates.toml", "driftline models gate gates.json --json")
)
def gate(file: FileArgument, as_json: JsonOption = False, pipeline: PipelineOption = "") -> None:
    """Run the declared pipeline over the log, and check gates.

    The exit code is 1 unless all are passed. The pipeline is run as it is declared and applied now, without
    the flows, from the beginning of the log. A change is against the scores that were served for the same
    events.
    """
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import EXIT_FAULT, check_topics

    running = load_engine(pipeline)
    gates = _read(file, running.pipeline)
    check_topics(running)
    found = _gated(running, gates)
    if as_json:
        rows = [each._asdict() for each in found.gates]
        print_json({"passed": found.passed, "labels": found.labels, "gates": rows})
    else:
        _print(found)
    if not found.passed:
        raise typer.Exit(EXIT_FAULT)


def _read(file: Path, pipeline: "Pipeline") -> "list[ModelGate]":
    """Return the gates in a file; raises `ConfigError`."""
    from flows.core.evaluation.gates import parse_gates, sections

    try:
        text = file.read_text("utf-8")
        raw: Any = orjson.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"FILE must be a file of gates, got {file} ({error.strerror}); name another"
        ) from None
    except ValueError as error:  # of both formats, and of the encoding
        raise ConfigError(f"{file} must be TOML, or JSON if its name ends in .json: {error}") from None
    names = sections(list(pipeline.fresh_metrics()), pipeline.slices, pipeline.task == "binary")
    return parse_gates(raw, names)


def _gated(running: "Engine", gates: "list[ModelGate]") -> Gated:
    from flows.backtest.trial import Trial
    from flows.core.evaluation.gates import check
    from flows.runtime.runner import tune_garbage_collection

    with closing(running.open_broker()) as broker:
        with err.status("reading the served predictions"):
            trial = Trial(running, broker)
        tune_garbage_collection()
        dead = 0
        with progress("backtesting", len(trial.records)) as advance:
            for step in trial.run():
                advance(step.records)
                dead += len(step.dead)
        if dead:
            warn(
                f"{dead:,} dead letters from {len(trial.records):,} records; `driftline backtest` names them"
            )
        return Gated(trial.labels, check(gates, trial.figures()))


def _print(found: Gated) -> None:
    rows = [
        (each.figure, each.limit, each.bound, each.value, "yes" if each.passed else "no")
        for each in found.gates
    ]
    print_table(console(), ("gate", "limit", "bound", "value", "passed"), rows)
    failed = sum(not each.passed for each in found.gates)
    said = f"{failed} of {len(rows)} gates failed" if failed else "all gates passed"
    print_line(console(), f"{said}, over {found.labels:,} labels of events that were served")
