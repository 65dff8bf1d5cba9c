"""`driftline topics` and `driftline tail`: the topics with the flows' lag, and the records of one topic."""

import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.highlighter import ReprHighlighter
from rich.pretty import pretty_repr
from rich.text import Text

from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import print_json, print_json_line
from flows.errors import UnknownTopic
from flows.host.tables import console, print_line, print_table

if TYPE_CHECKING:
    from flows.core.stream.broker import Broker
    from flows.runtime.engine import Engine

commands = typer.Typer()

_NAMED = 20  # topics listed in an error

TopicArgument = Annotated[
    str,
    typer.Argument(
        metavar="TOPIC",
        help="Name of a topic, or an output of the pipeline: predictions, features, models, metrics, drift, "
        "learned, registry, commands or dead-letters.",
    ),
]


@commands.command(epilog=examples("driftline topics", "driftline topics --json"))
def topics(as_json: JsonOption = False, pipeline: PipelineOption = "") -> None:
    """List the topics: partitions, records, lag of the flows."""
    from flows.runtime.engine import load_engine

    running = load_engine(pipeline)
    with closing(running.open_broker()) as broker:
        rows = [_row(running, broker, topic) for topic in broker.existing(running.pipeline.topics)]
    if as_json:
        print_json(rows)
    else:
        _print_topics(rows)


def _row(running: "Engine", broker: "Broker", topic: str) -> dict[str, Any]:
    """Return the counts of one topic; a flow that never read it has no lag."""
    from flows.runtime.runner import FLOWS

    written, bounds = broker.uncommitted().offsets(topic), broker.offsets(topic)
    end = sum(end for _, end in bounds)
    read = {flow: sum(broker.committed(running.pipeline.group(flow), topic).values()) for flow in FLOWS}
    return {
        "topic": topic,
        "partitions": len(bounds),
        "records": end - sum(start for start, _ in bounds),
        "held_back": sum(high for _, high in written) - end,
        "lag": {flow: end - offset for flow, offset in read.items() if offset},
    }


def _print_topics(rows: list[dict[str, Any]]) -> None:
    names = ("topic", "partitions", "records")
    cells = [(*[row[name] for name in names], _lag(row["lag"])) for row in rows]
    print_table(console(), (*names, "lag of the flows that read it"), cells)
    for row in rows:
        if row["held_back"] > 0:
            print_line(
                console(),
                f"{row['topic']}: {row['held_back']:,} records cannot be read yet: a producer's transaction "
                "is open",
            )


def _lag(lag: dict[str, int]) -> str:
    return ", ".join(f"{flow} {records:,}" for flow, records in lag.items())


@commands.command(
    epilog=examples("driftline tail predictions", "driftline tail dead-letters --from-start --json")
)
def tail(
    topic: TopicArgument,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest record.")] = False,
    count: Annotated[
        int | None, typer.Option("-n", min=1, metavar="N", help="Stop after N records. Default: never.")
    ] = None,
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Print the records of a topic as they arrive.

    Ctrl-C ends it.
    """
    from flows.jobs.tail import follow_from_end, follow_from_start, readable
    from flows.pipeline import OUTPUTS
    from flows.runtime.engine import load_engine

    running = load_engine(pipeline)
    name = running.pipeline.topic(topic) if topic in OUTPUTS else topic
    names = running.pipeline.feature_names(running.state.plan()) if topic == "predictions" else ()
    follow = follow_from_start if from_start else follow_from_end
    show = print_json_line if as_json else _print_record
    with closing(running.open_broker()) as broker, suppress(KeyboardInterrupt):
        _check_exists(running, broker, name)
        for number, record in enumerate(follow(broker, name), 1):
            show(readable(record, names))
            if number == count:
                break


def _print_record(shown: dict[str, Any]) -> None:
    """Print the record as Python data, with control characters escaped."""
    to = console()
    time, data = shown.pop("time"), pretty_repr(shown, max_width=to.width)
    separator = "\n" if "\n" in data else " "
    to.print(Text.assemble((f"{time}{separator}", "dim"), ReprHighlighter()(data)), soft_wrap=True)
    sys.stdout.flush()


def _check_exists(running: "Engine", broker: "Broker", topic: str) -> None:
    """Raise `UnknownTopic` if the topic is missing.

    The error lists the existing topics, or names `driftline apply` if that creates this one.
    """
    try:
        broker.existing([topic])
    except UnknownTopic:
        if topic not in running.pipeline.topics:
            raise _unknown(running, broker, topic) from None
        raise


def _unknown(running: "Engine", broker: "Broker", topic: str) -> UnknownTopic:
    from flows.pipeline import OUTPUTS

    existing = broker.topics()
    own = [each for each in running.pipeline.topics if each in existing]
    others = sorted(existing.keys() - own)
    named = ", ".join([*own, *others][:_NAMED]) or "none"
    more = f" and {len(existing) - _NAMED:,} more" if len(existing) > _NAMED else ""
    return UnknownTopic(topic, f"name one of {', '.join(OUTPUTS)}, or an existing topic: {named}{more}")
