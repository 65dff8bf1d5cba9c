"""`driftline models list` and `show`: the versions, and the lineage of one."""

from typing import TYPE_CHECKING, Any

import typer

from flows.cli.models.versions import OpenedModels, VersionArgument, opened_models, opened_version
from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import print_json
from flows.host.tables import console, print_line, print_table

if TYPE_CHECKING:
    from flows.core.registry.entry import Entry

commands = typer.Typer()


@commands.command("list", epilog=examples("driftline models list", "driftline models list --json"))
def list_versions(as_json: JsonOption = False, pipeline: PipelineOption = "") -> None:
    """List the registered model versions, the newest first."""
    with opened_models(pipeline) as opened:
        rows = _rows(opened)
    if as_json:
        print_json(rows)
    elif rows:
        shown = [{**row, "frozen": "yes" if row["frozen"] else None} for row in rows]
        print_table(console(), tuple(shown[0]), [tuple(row.values()) for row in shown])
    else:
        print_line(console(), "no model version yet; the learner registers the first one when it starts")


def _rows(opened: OpenedModels) -> list[dict[str, Any]]:
    from flows.core.lineage import cause_of

    aliases = {version.name: alias for alias, version in opened.registry.aliases.items()}
    messages = opened.messages.by_version
    return [
        {
            "version": each.name,
            "role": each.role,
            "alias": aliases.get(each.name),
            "frozen": each.is_frozen,
            "born": _time(each.born),
            "labels": messages[each.name].learned if each.name in messages else each.learned,
            "champion_since": _time(each.last("promoted")) if each.role == "champion" else None,
            "parent": each.born.lineage.get("parent"),
            "cause": cause_of(each.born.lineage),
        }
        for each in reversed(opened.registry.versions.values())
    ]


def _time(entry: "Entry | None") -> str | None:
    """Return the event time of an entry; None before the first label, which gives the first event time."""
    return entry.time if entry is not None and entry.steps else None


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
