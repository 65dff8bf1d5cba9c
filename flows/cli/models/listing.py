"""`driftline models list` and `show`: the versions, and the lineage of one."""

import typer

from flows.cli.models.versions import VersionArgument, opened_models, opened_version
from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import print_json
from flows.host.tables import console, print_line, print_table

commands = typer.Typer()


@commands.command("list", epilog=examples("driftline models list", "driftline models list --json"))
def list_versions(as_json: JsonOption = False, pipeline: PipelineOption = "") -> None:
    """List the registered model versions, the newest first."""
    from flows.jobs.models.listing import version_rows

    with opened_models(pipeline) as opened:
        rows = version_rows(opened.registry, opened.messages)
    if as_json:
        print_json(rows)
    elif rows:
        shown = [{**row, "frozen": "yes" if row["frozen"] else None} for row in rows]
        print_table(console(), tuple(shown[0]), [tuple(row.values()) for row in shown])
    else:
        print_line(console(), "no model version yet; the learner registers the first one when it starts")


@commands.command(
    "show", epilog=examples("driftline models show champion", "driftline models show v2-fresh --json")
)
def show_version(
    version: VersionArgument, as_json: JsonOption = False, pipeline: PipelineOption = ""
) -> None:
    """Show the lineage of a version: its code, data and metrics."""
    from flows.core.lineage import flat

    with opened_version(version, pipeline) as found:
        registered = found.registered
        state = {"role": registered.role, "frozen": registered.is_frozen}
        shown = {**state, **found.facts.lineage.as_dict()}
    if as_json:
        print_json(shown)
    else:
        rows = [(name, None if value is None else str(value)) for name, value in flat(shown)]
        print_table(console(), ("field", "value"), rows)
