"""`driftline models compare`: two versions side by side."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from flows.cli.models.versions import OpenedModels, opened_models, with_facts
from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import err, print_json
from flows.host.tables import console, print_line, print_table

if TYPE_CHECKING:
    from flows.core.learning.comparison import Measure
    from flows.core.registry.registry import RegisteredVersion

commands = typer.Typer()

FirstArgument = Annotated[
    str, typer.Argument(metavar="A", help="A version, an alias or a URI, as in `models show`.")
]
SecondArgument = Annotated[str, typer.Argument(metavar="B", help="The version that A is compared with.")]


class Compared(NamedTuple):
    """Two versions: what differs in their lineage, and their measures over the labels that both scored."""

    first: str
    second: str
    lineage: dict[str, tuple[Any, Any]]
    labels: int
    block: int
    measures: "list[Measure]"


@commands.command(
    "compare",
    epilog=examples(
        "driftline models compare champion challenger", "driftline models compare previous champion --json"
    ),
)
def compare_versions(
    first: FirstArgument, second: SecondArgument, as_json: JsonOption = False, pipeline: PipelineOption = ""
) -> None:
    """Compare the lineage and the metrics of two versions.

    The metrics are over the labels of the events that both scored. The confidence is that of a paired test on
    the means of blocks of labels, as in a contest.
    """
    from flows.core.registry.version_names import chosen_pipeline, parse_version_name
    from flows.errors import ConfigError

    names = [parse_version_name(name) for name in (first, second)]
    for name in names:
        pipeline = chosen_pipeline(name, pipeline)
    with opened_models(pipeline) as opened:
        versions = [opened.registry.find(name.name) for name in names]
        if versions[0] is versions[1]:
            raise ConfigError(
                f"A and B must be two versions, got {versions[0].name!r} twice; name another one"
            )
        found = _compared(opened, *versions)
    if as_json:
        print_json(_plain(found))
    else:
        _print(found)


def _compared(opened: OpenedModels, first: "RegisteredVersion", second: "RegisteredVersion") -> Compared:
    from flows.core.learning.comparison import compare
    from flows.core.lineage import differences
    from flows.core.models.tasks import task_of
    from flows.jobs.models.comparison import common_scores

    pipeline = opened.running.pipeline
    with err.status("reading the predictions and labels"):
        pairs = common_scores(pipeline, opened.broker, first, second)
    lineages = [with_facts(opened, each).facts.lineage for each in (first, second)]
    block = pipeline.retrain.block
    metrics = [pipeline.fresh_metrics(), pipeline.fresh_metrics()]
    measures = compare(task_of(pipeline.task), metrics, pairs, block)
    return Compared(first.name, second.name, differences(*lineages), len(pairs), block, measures)


def _plain(found: Compared) -> dict[str, Any]:
    measures = [
        {**each._asdict(), "difference": each.difference, "better": _better(found, each)}
        for each in found.measures
    ]
    return {**found._asdict(), "measures": measures}


def _better(found: Compared, measure: "Measure") -> str | None:
    """Return the version with the better value, whatever the confidence; None if neither is better."""
    if measure.difference == 0 or measure.difference != measure.difference:  # NaN
        return None
    return found.second if (measure.difference > 0) == measure.bigger_is_better else found.first


def _print(found: Compared) -> None:
    out, (first, second) = console(), found[:2]
    print_table(
        out, ("lineage", first, second), [(name, *map(_text, each)) for name, each in found.lineage.items()]
    )
    print_table(
        out,
        ("measure", first, second, "difference", "confidence", "better"),
        [
            (each.name, each.first, each.second, each.difference, each.confidence, _better(found, each))
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
