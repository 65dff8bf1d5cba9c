"""`driftline publish`: sends a data set or a file to its topics."""

from collections import Counter
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import DataOption, PipelineOption, dataset, err, progress
from flows.core.stream.broker import Broker
from flows.core.stream.times import in_milliseconds
from flows.errors import ConfigError
from flows.host.patience import Patience
from flows.host.printable import printable
from flows.host.tables import console, print_line
from flows.jobs.publishing.bounded_lag import BoundedLag, default_step
from flows.jobs.publishing.learned_labels import LearnedLabels
from flows.jobs.publishing.pace import Pace, SpeedUp
from flows.jobs.publishing.publisher import publish as publish_records
from flows.jobs.publishing.records import FileRecords
from flows.jobs.publishing.steady_producer import SteadyProducer
from flows.jobs.publishing.survey import Survey, survey
from flows.pipeline import Pipeline, Stream
from flows.runtime.engine import Engine, engine
from flows.runtime.locks import is_running
from flows.runtime.runner import check_topics

LOOSEST = timedelta(hours=6)  # the bound where labels take longer, or there are none
TIGHTEST = timedelta(seconds=1)
_OF_DELAY = 8  # so many bounds are in the median label delay


def publish(
    file: Annotated[
        Path | None,
        typer.Argument(help="A file with one JSON record a line; the pipeline's data set by default."),
    ] = None,
    topic: Annotated[
        str, typer.Option(help="The input topic of the file's records; the events by default.")
    ] = "",
    events: Annotated[int | None, typer.Option(min=1, help="Only the data set's first N events.")] = None,
    data: DataOption = None,
    speed_up: Annotated[
        float | None, typer.Option(min=0.001, help="Event time passes this many times as fast as the clock.")
    ] = None,
    bound_hours: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            help="Without --speed-up: as fast as the flows keep up within this event time; by default an "
            "eighth of the labels' median delay, and 6 at most.",
        ),
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Send also records that become dead letters.")
    ] = False,
    pipeline: PipelineOption = "",
) -> None:
    """Publish a data set or a file to its topics, in event-time order.

    All records are checked against the declaration before the first one is sent.
    """
    if topic and file is None:
        raise ConfigError("--topic goes with a file of records; name the file")
    running = engine(pipeline)
    check_topics(running, [stream.topic for stream in running.pipeline.input_streams])
    records: Any = (
        FileRecords(file, _stream(running.pipeline, topic)) if file else dataset(running, events, data)
    )
    with progress("checking", len(records)) as advance:
        found = survey(running.pipeline, records, advance)
    if not unchecked:
        found.check(records.place if file else "record {} of the data set".format)
    sent: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.callback(_report, running.pipeline, sent)
        broker = stack.enter_context(closing(running.open_broker()))
        patience = Patience(_say)
        pace: Pace
        if speed_up:
            pace, step = SpeedUp(speed_up), 1000
        else:
            bound = _bound(found, bound_hours)
            pace, step = _within(running, broker, bound, patience, stack), default_step(bound)
        topics = [stream.topic for stream in running.pipeline.input_streams]
        producer = stack.enter_context(closing(SteadyProducer(broker, topics, patience)))
        advance = stack.enter_context(progress("publishing", found.counts.total()))
        for records_sent in publish_records(producer, running.pipeline, records, pace, step):
            sent.update(record.topic for record in records_sent)
            advance(len(records_sent))
    _check_complete(found, sent)


def _bound(found: Survey, hours: float | None) -> int:
    """How far (ms of event time) the flows may be behind the publisher."""
    if hours is not None:
        return round(hours * 3_600_000)
    loosest, tightest = in_milliseconds(LOOSEST), in_milliseconds(TIGHTEST)
    if found.delay is None or found.delay // _OF_DELAY >= loosest:
        return loosest
    bound = max(tightest, found.delay // _OF_DELAY)
    _say(
        f"labels take {_span(found.delay)}, so the flows are kept within {_span(bound)} of event time; a "
        "larger --bound-hours is faster, and lets them learn labels later than live"
    )
    return bound


def _span(milliseconds: int) -> str:
    return str(timedelta(seconds=round(milliseconds / 1000)))


def _within(running: Engine, broker: Broker, bound: int, patience: Patience, stack: ExitStack) -> Pace:
    """A pace at which flows and models keep within the bound."""
    models = LearnedLabels(broker, running.pipeline, running.settings.model_seconds, patience)
    stack.enter_context(closing(models))
    return BoundedLag(broker, running.pipeline, bound, patience, partial(is_running, running), models)


def _say(line: str) -> None:
    err.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _stream(pipeline: Pipeline, topic: str) -> Stream:
    streams = {stream.topic: stream for stream in pipeline.input_streams}
    name = topic or pipeline.events.topic
    if name not in streams:
        raise ConfigError(
            f"--topic {name!r} is no input of {pipeline.name}; its inputs are {', '.join(streams)}"
        )
    return streams[name]


def _report(pipeline: Pipeline, sent: Counter[str]) -> None:
    """Print how many records the broker has acknowledged, whatever ended the command."""
    events, labels = sent[pipeline.events.topic], sent[pipeline.labels.topic]
    sources = sent.total() - events - labels
    print_line(console(), f"published {events:,} events, {labels:,} labels, {sources:,} source records")


def _check_complete(found: Survey, sent: Counter[str]) -> None:
    if sent != found.counts:
        raise ConfigError(
            f"the data set had {found.counts.total():,} records when it was read first and {sent.total():,} "
            "when it was read again; its `__iter__` must give the same records each time"
        )
