"""`driftline topics` and `driftline tail`: what stands on the topics, and how far the flows have read."""

import sys
from contextlib import closing, suppress
from typing import Annotated, Any

import typer
from rich.highlighter import ReprHighlighter
from rich.pretty import pretty_repr
from rich.text import Text

from flows.cli.options import JsonOption, PipelineOption, print_json, print_json_line
from flows.core.stream.broker import Broker
from flows.errors import UnknownTopic
from flows.host.tables import console, print_line, print_table
from flows.pipeline import OUTPUTS
from flows.runtime.engine import Engine, load_engine
from flows.runtime.runner import FLOWS

_NAMED = 20  # topics that an error names


def topics(as_json: JsonOption = False, pipeline: PipelineOption = "") -> None:
    """List the pipeline's topics: partitions, records, and how far each flow has read."""
    running = load_engine(pipeline)
    with closing(running.open_broker()) as broker:
        rows = [_row(running, broker, topic) for topic in broker.existing(running.pipeline.topics)]
    if as_json:
        print_json(rows)
        return
    names = ("topic", "partitions", "records")
    cells = [(*[row[name] for name in names], _lag(row["lag"])) for row in rows]
    print_table(console(), (*names, "lag of the flows that read it"), cells)
    for row in rows:
        if row["held_back"] > 0:
            print_line(
                console(),
                f"{row['topic']}: {row['held_back']:,} records cannot be read yet; somebody's transaction is "
                "open",
            )


def _row(running: Engine, broker: Broker, topic: str) -> dict[str, Any]:
    written, bounds = broker.uncommitted().offsets(topic), broker.offsets(topic)
    read = {flow: sum(broker.committed(running.pipeline.group(flow), topic).values()) for flow in FLOWS}
    return {
        "topic": topic,
        "partitions": len(bounds),
        "records": sum(end - start for start, end in bounds),
        "held_back": sum(high for _, high in written) - sum(end for _, end in bounds),
        "lag": {flow: sum(end for _, end in bounds) - done for flow, done in read.items() if done},
    }


def _lag(behind: dict[str, int]) -> str:
    return ", ".join(f"{flow} {records:,}" for flow, records in behind.items())


def tail(
    topic: Annotated[str, typer.Argument(help=f"A topic's name, or one of: {', '.join(OUTPUTS)}.")],
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest record.")] = False,
    count: Annotated[int | None, typer.Option("-n", min=1, help="Stop after this many records.")] = None,
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Print a topic's records as they come, until Ctrl-C."""
    from flows.jobs.tail import follow, readable

    running = load_engine(pipeline)
    name = running.pipeline.topic(topic) if topic in OUTPUTS else topic
    names = running.pipeline.feature_names(running.state.plan()) if topic == "predictions" else ()
    show = print_json_line if as_json else _print_record
    with closing(running.open_broker()) as broker, suppress(KeyboardInterrupt):
        _check_exists(running, broker, name)
        for number, record in enumerate(follow(broker, name, from_start), 1):
            show(readable(record, names))
            if number == count:
                break


def _print_record(shown: dict[str, Any]) -> None:
    """Print the record as Python shows its data, with control characters escaped."""
    to = console()
    time, data = shown.pop("time"), pretty_repr(shown, max_width=to.width)
    between = "\n" if "\n" in data else " "
    to.print(Text.assemble((f"{time}{between}", "dim"), ReprHighlighter()(data)), soft_wrap=True)
    sys.stdout.flush()


def _check_exists(running: Engine, broker: Broker, topic: str) -> None:
    """Raise `UnknownTopic`, with the topics that there are unless `driftline apply` makes this one."""
    try:
        broker.existing([topic])
    except UnknownTopic:
        if topic not in running.pipeline.topics:
            raise _unknown(running, broker, topic) from None
        raise


def _unknown(running: Engine, broker: Broker, topic: str) -> UnknownTopic:
    known = broker.topics()
    own = [each for each in running.pipeline.topics if each in known]
    others = sorted(known.keys() - own)
    named = ", ".join([*own, *others][:_NAMED]) or "none"
    more = f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else ""
    return UnknownTopic(topic, f"choose among {', '.join(OUTPUTS)}, or the topics there are: {named}{more}")
