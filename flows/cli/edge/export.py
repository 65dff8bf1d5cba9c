"""`driftline export`: a version for devices, and the runtime that runs it there."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.models.versions import VersionArgument, opened_version
from flows.cli.options import PipelineOption, examples
from flows.host.tables import console, print_line

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Export a version to devices that have nothing but Python.",
)

FolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")]
FileOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")]


@commands.command(epilog=examples("driftline export edge champion --out late-orders"))
def edge(version: VersionArgument, out: FolderOption, pipeline: PipelineOption = "") -> None:
    """Write a signed package with a version, for `driftline-edge`.

    It has the model and the code of its functions. Before it is written, it scores the last served rows; it
    must give the model's scores to the last bit.
    """
    from flows.jobs.models.edge import CHECKED_ROWS, edge_secret, export_edge
    from flows.jobs.models.newest import served_rows

    with opened_version(version, pipeline) as found:
        running = found.opened.running
        plan = running.state.plan()
        rows = served_rows(running.pipeline, plan, found.opened.broker, CHECKED_ROWS)
        secret = edge_secret(running.secrets[0])
        done = export_edge(out, found.facts, found.state.model, running.pipeline, plan, rows, secret)
    lineage = found.facts.lineage
    print_line(
        console(),
        f"{lineage.pipeline} {lineage.version} after {lineage.labels:,} labels: {out} has {done.size:,} "
        f"bytes and gives the scores of the last {done.rows:,} served rows to the last bit",
    )


@commands.command(epilog=examples("driftline export runtime --out driftline-edge"))
def runtime(out: FileOption, pipeline: PipelineOption = "") -> None:
    """Write `driftline-edge` as one file for devices.

    It runs the packages that are signed with the key of this project, and no others.
    """
    from flows.jobs.models.edge import edge_secret, write_runtime
    from flows.runtime.engine import load_engine

    key = write_runtime(out, edge_secret(load_engine(pipeline).secrets[0]))
    print_line(console(), f"{out} has {out.stat().st_size:,} bytes and trusts the key {key.hex()}")
