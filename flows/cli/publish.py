"""`driftline publish`: sends a data set or a file to its topics."""

from collections import Counter
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import DataOption, EventsOption, PipelineOption, dataset, examples
from flows.cli.output import note, progress
from flows.errors import ConfigError
from flows.host.patience import Patience
from flows.host.tables import console, print_line

if TYPE_CHECKING:
    from flows.core.stream.broker import Broker
    from flows.jobs.publishing.pace import Pace
    from flows.jobs.publishing.survey import Survey
    from flows.pipeline import Pipeline, Stream
    from flows.runtime.engine import Engine

commands = typer.Typer()

_CLOCK_STEP = 1000  # ms of event time in a chunk that is sent by the clock

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE", help="File with one JSON record per line. Default: the pipeline's data set."
    ),
]
TopicOption = Annotated[
    str, typer.Option(metavar="TOPIC", help="Input topic of the file's records. Default: the events.")
]
SpeedUpOption = Annotated[
    float | None,
    typer.Option(min=0.001, metavar="X", help="Let event time pass X times as fast as the clock."),
]
BoundOption = Annotated[
    float | None,
    typer.Option(
        min=0.0001,
        metavar="HOURS",
        help="Without --speed-up: how far, in event time, the flows may lag behind. Default: an eighth of "
        "the labels' median delay, at most 6.",
    ),
]
UncheckedOption = Annotated[
    bool, typer.Option("--unchecked", help="Publish records that will become dead letters, too.")
]


@commands.command(
    epilog=examples(
        "driftline publish",
        "driftline publish --speed-up 60",
        "driftline publish events.jsonl --topic flights",
    )
)
def publish(
    file: FileArgument = None,
    topic: TopicOption = "",
    events: EventsOption = None,
    data: DataOption = None,
    speed_up: SpeedUpOption = None,
    bound_hours: BoundOption = None,
    unchecked: UncheckedOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Publish a data set or a file in event-time order.

    All records are checked against the declaration before the first one is sent. Without --speed-up records
    are sent as fast as the running flows keep up.
    """
    from flows.jobs.publishing.records import FileRecords
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import check_topics

    if topic and file is None:
        raise ConfigError("--topic needs a file of records; name the file")
    running = load_engine(pipeline)
    check_topics(running, _inputs(running.pipeline))
    if file:
        records: Any = FileRecords(file, _stream(running.pipeline, topic))
    else:
        records = dataset(running.pipeline, events, data)
    found = _survey(running.pipeline, records)
    if not unchecked:
        found.check(records.place if file else "record {} of the data set".format)
    sent = _publish(running, records, found, speed_up, bound_hours)
    _check_complete(found, sent)


def _inputs(pipeline: "Pipeline") -> list[str]:
    return [stream.topic for stream in pipeline.input_streams]


def _stream(pipeline: "Pipeline", topic: str) -> "Stream":
    """Return the stream of an input topic, by default that of the events."""
    name = topic or pipeline.events.topic
    for stream in pipeline.input_streams:
        if stream.topic == name:
            return stream
    raise ConfigError(
        f"--topic must be an input of {pipeline.name} ({', '.join(_inputs(pipeline))}), got {name!r}"
    )


def _survey(pipeline: "Pipeline", records: Any) -> "Survey":
    from flows.jobs.publishing.survey import survey

    with progress("checking", len(records)) as advance:
        return survey(pipeline, records, advance)


def _publish(
    running: "Engine", records: Any, found: "Survey", speed_up: float | None, bound_hours: float | None
) -> Counter[str]:
    """Publish the records, and return how many were sent to each topic; print the counts even on an error."""
    from flows.jobs.publishing.bounded_lag import default_step
    from flows.jobs.publishing.pace import SpeedUp
    from flows.jobs.publishing.publisher import publish as publish_records
    from flows.jobs.publishing.steady_producer import SteadyProducer

    sent: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.callback(_report, running.pipeline, sent)
        broker = stack.enter_context(closing(running.open_broker()))
        patience = Patience(note)
        pace: Pace
        if speed_up:
            pace, step = SpeedUp(speed_up), _CLOCK_STEP
        else:
            bound = _bound(found, bound_hours)
            pace, step = _bounded_lag(running, broker, bound, patience, stack), default_step(bound)
        producer = SteadyProducer(broker, _inputs(running.pipeline), patience)
        stack.enter_context(closing(producer))
        advance = stack.enter_context(progress("publishing", found.counts.total()))
        for batch in publish_records(producer, running.pipeline, records, pace, step):
            sent.update(record.topic for record in batch)
            advance(len(batch))
    return sent


def _bound(found: "Survey", hours: float | None) -> int:
    """Return how far the flows may lag behind the publisher, in ms of event time."""
    from flows.core.stream.times import in_milliseconds
    from flows.jobs.publishing.bounded_lag import LOOSEST, default_bound

    if hours is not None:
        return round(hours * 3_600_000)
    bound = default_bound(found.delay)
    if found.delay is not None and bound < in_milliseconds(LOOSEST):
        note(
            f"labels take {_span(found.delay)}, so the flows may lag by {_span(bound)} of event time; a "
            "larger --bound-hours is faster, but labels are then learned later than live"
        )
    return bound


def _span(milliseconds: int) -> str:
    return str(timedelta(seconds=round(milliseconds / 1000)))


def _bounded_lag(
    running: "Engine", broker: "Broker", bound: int, patience: Patience, stack: ExitStack
) -> "Pace":
    """Return a pace at which the flows and the served model keep up; `stack` closes it."""
    from flows.jobs.publishing.bounded_lag import BoundedLag
    from flows.jobs.publishing.learned_labels import LearnedLabels
    from flows.runtime.runner import is_running

    learned = LearnedLabels(broker, running.pipeline, running.settings.model_seconds, patience)
    stack.enter_context(closing(learned))
    return BoundedLag(broker, running.pipeline, bound, patience, partial(is_running, running), learned)


def _report(pipeline: "Pipeline", sent: Counter[str]) -> None:
    """Print how many records the broker has acknowledged."""
    events, labels = sent[pipeline.events.topic], sent[pipeline.labels.topic]
    sources = sent.total() - events - labels
    print_line(console(), f"published {events:,} events, {labels:,} labels, {sources:,} source records")


def _check_complete(found: "Survey", sent: Counter[str]) -> None:
    if sent != found.counts:
        raise ConfigError(
            f"the data set must give the same records each time, got {found.counts.total():,} when they were "
            f"checked and {sent.total():,} when they were published; correct its `__iter__`"
        )
