"""`driftline models history`: who changed which version, when and why."""

from contextlib import closing
from typing import Annotated

import typer

from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import note, print_json, warn
from flows.host.tables import console, print_line, print_table

commands = typer.Typer()

VerifyOption = Annotated[
    bool, typer.Option("--verify", help="Check each signature and the chain; exit with 1 if it is broken.")
]
AllOption = Annotated[bool, typer.Option("--all", help="Also list the checkpoints.")]


@commands.command(
    "history",
    epilog=examples(
        "driftline models history",
        "driftline models history --verify",
        "driftline models history --all --json",
    ),
)
def history(
    verify: VerifyOption = False,
    everything: AllOption = False,
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """List the changes of all model versions, oldest first."""
    from flows.jobs.models.commands import read_registry
    from flows.jobs.models.listing import entry_row
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import EXIT_FAULT, check_topics

    running = load_engine(pipeline)
    check_topics(running)
    with closing(running.open_broker()) as broker:
        registry, breaks = read_registry(running, broker)
    shown = [entry_row(each) for each in registry.entries if everything or each.change != "checkpoint"]
    if as_json:
        print_json(shown)
    elif shown:
        print_table(console(), tuple(shown[0]), [tuple(row.values()) for row in shown])
    else:
        print_line(console(), "no entry yet; the learner writes the first one when it starts")
    for fault in breaks:
        warn(f"registry, offset {fault.offset}: {fault.fault}")
    if verify and breaks:
        raise typer.Exit(EXIT_FAULT)
    if verify:
        note(f"{len(registry.entries):,} entries: signed, and none is missing or altered")
