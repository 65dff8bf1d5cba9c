"""`driftline models compare`: two versions side by side."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.models.versions import opened_models
from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import err, print_json
from flows.host.tables import console, print_line, print_table

if TYPE_CHECKING:
    from flows.jobs.models.side_by_side import Compared

commands = typer.Typer()

FirstArgument = Annotated[
    str, typer.Argument(metavar="A", help="A version, an alias or a URI, as in `models show`.")
]
SecondArgument = Annotated[str, typer.Argument(metavar="B", help="The version that A is compared with.")]


@commands.command(
    "compare",
    epilog=examples(
        "driftline models compare champion challenger", "driftline models compare previous champion --json"
    ),
)
def compare(
    first: FirstArgument, second: SecondArgument, as_json: JsonOption = False, pipeline: PipelineOption = ""
) -> None:
    """Compare the lineage and the metrics of two versions.

    The metrics are over the labels of the events that both scored. The confidence is that of a paired test on
    the means of blocks of labels, as in a contest.
    """
    from flows.core.registry.version_names import chosen_pipeline, parse_version_name
    from flows.jobs.models.side_by_side import compare_versions

    names = [parse_version_name(name) for name in (first, second)]
    for name in names:
        pipeline = chosen_pipeline(name, pipeline)
    with opened_models(pipeline) as opened, err.status("reading the predictions and labels"):
        found = compare_versions(
            opened.running, opened.broker, opened.registry, opened.messages, (names[0].name, names[1].name)
        )
    if as_json:
        print_json(found.as_dict())
    else:
        _print(found)


def _print(found: "Compared") -> None:
    out, (first, second) = console(), found[:2]
    print_table(
        out, ("lineage", first, second), [(name, *map(_text, each)) for name, each in found.lineage.items()]
    )
    print_table(
        out,
        ("measure", first, second, "difference", "confidence", "better"),
        [
            (each.name, each.first, each.second, each.difference, each.confidence, found.better(each))
            for each in found.measures
        ],
    )
    print_line(
        out,
        f"over {found.labels:,} labels of events that both scored; the confidence of a difference is that of "
        f"a paired t-test on the means of blocks of {found.block} labels, if there are ten of them",
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)
