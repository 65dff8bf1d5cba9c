"""The `driftline` command."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from flows import settings
from flows import topics as topic_changes
from flows.cli_dead_letters import dead_letters
from flows.cli_options import BEGINNING, END, JsonOption, PipelineOption, moment, print_json
from flows.cli_webhooks import webhooks
from flows.core.plan import FeaturePlan
from flows.core.schema import in_milliseconds
from flows.errors import AccessDenied, ConfigError, DriftlineError, StoreError, UnknownTopic
from flows.materialized import Materialized
from flows.pipeline import OUTPUTS, Dataset, Pipeline, Stream
from flows.runner import (
    EXIT_BEHIND,
    EXIT_FAULT,
    EXIT_MISTAKE,
    FLOWS,
    alone,
    check_topics,
    tune_garbage_collection,
)
from flows.state_dir import make_private
from flows.unbounded import unbounded_warning
from flows.wiring import Engine, engine, engines

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Stream-first, real-time predictions that learn online, watch for drift and retrain themselves.",
)
out = Console()
err = Console(stderr=True)

DataOption = Annotated[
    Path | None, typer.Option("--data", help="A file to make the data set of, where the pipeline can.")
]


def main() -> None:
    """Run the command; a mistake of the user is one line that says what to do."""
    for warning in settings.unknown():
        err.print(f"[yellow]driftline:[/yellow] warning: {escape(warning)}", highlight=False, soft_wrap=True)
    try:
        app()
    except DriftlineError as error:
        err.print(f"[red]driftline:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(EXIT_MISTAKE if isinstance(error, AccessDenied | ConfigError | UnknownTopic) else EXIT_FAULT)


@app.command(epilog="Examples: driftline apply · driftline apply --pipeline flight_delays")
def apply(pipeline: PipelineOption = "") -> None:
    """Register the Feast repository, compile the feature plans and create the topics.

    Run it once, and again after every change of a declaration; what is there already stays. Without a choice
    it is for all pipelines of the project.
    """
    running = engines(pipeline)
    first = running[0]
    make_private(first.settings.state_dir)
    broker = first.open_broker()
    for each in running:  # before Feast, which takes seconds
        topic_changes.check(each, broker, FLOWS)
    with err.status("importing Feast and applying the feature repository"):
        from flows.adapters import feast_repo  # Feast takes seconds to import: only here

        feast_repo.apply(first.project.feature_repo, first.settings.feature_store)
        first.sealer()  # makes the secret, before several flows need it at once
        plans = [_compile(each) for each in running]
    for each, plan in zip(running, plans, strict=True):
        each.keep_plan(plan)
        made = topic_changes.make(each, broker)
        for remark in made.remarks:
            err.print(f"{each.pipeline.name}: {remark}", markup=False, highlight=False, soft_wrap=True)
        views = len(plan.views) + len(plan.lookups)
        err.print(
            f"{each.pipeline.name}: {len(plan.names)} features in {views} views "
            f"(plan {plan.hash}), {len(made.created)} topics created",
            highlight=False,
        )
        if warning := unbounded_warning(each.pipeline, plan):
            err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False, soft_wrap=True)
    broker.close()


def _compile(running: Engine) -> FeaturePlan:
    """The pipeline's feature plan, checked; its part of the offline store is made readable."""
    from flows.adapters import feast_repo
    from flows.adapters.feast_offline import OfflineStore

    repo, yaml = running.project.feature_repo, running.settings.feature_store
    lateness = in_milliseconds(running.pipeline.lateness)
    plan = feast_repo.compile_plan(repo, yaml, running.pipeline.service, lateness)
    running.check(plan)
    # opening makes the empty part without which Feast could read no history yet
    OfflineStore(feast_repo.offline_folders(running.feature_store(), plan), plan)
    return plan


@app.command(
    epilog="Examples: driftline run · driftline run predict learn · driftline run predict --processes 4"
)
def run(
    flows: Annotated[
        list[str] | None, typer.Argument(help=f"Among {', '.join(FLOWS)}; all by default.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Of the predict flow; at most the pipeline's partitions.")
    ] = 1,
    pipeline: PipelineOption = "",
) -> None:
    """Run the flows, each in a process of its own, until Ctrl-C drains them.

    A flow that crashes is started again and works on where its last stored state stands. The predict flow may
    be several processes, and another number of them after a restart.
    """
    from flows.alert import targets_of
    from flows.supervisor import Supervisor

    for flow in flows or ():
        if flow not in FLOWS:
            raise ConfigError(f"there is no flow {flow!r}; the flows are {', '.join(FLOWS)}")
    running = engine(pipeline)
    running.plan()
    check_topics(running)
    targets_of(running)
    if processes > running.pipeline.partitions:
        raise ConfigError(
            f"--processes {processes} is more than the {running.pipeline.partitions} partitions of "
            f"{running.pipeline.name}; each process reads one at least"
        )
    environment = {"DRIFTLINE_PIPELINE": running.pipeline.name}
    chosen = dict.fromkeys(flows or FLOWS, 1)
    if "predict" in chosen:
        chosen["predict"] = processes
    supervisor = Supervisor(chosen, environment, lambda line: err.print(line, highlight=False))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.stop())
    raise typer.Exit(supervisor.run())


@app.command(
    epilog="Examples: driftline publish · driftline publish --speed-up 60 · "
    "driftline publish events.jsonl --topic flights"
)
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
        float,
        typer.Option(
            min=0.01, help="Without --speed-up: as fast as the flows keep up within this event time."
        ),
    ] = 6.0,
    pipeline: PipelineOption = "",
) -> None:
    """Publish a data set or a file to its topics, in event-time order."""
    from flows.publish import Bound, FileRecords, SpeedUp, default_step
    from flows.publish import publish as publish_records

    if topic and file is None:
        raise ConfigError("--topic goes with a file of records; name the file")
    running = engine(pipeline)
    check_topics(running, [stream.topic for stream in running.pipeline.input_streams])
    broker = running.open_broker()
    records: Any = (
        FileRecords(file, _stream(running.pipeline, topic)) if file else dataset(running, events, data)
    )
    bound = round(bound_hours * 3_600_000)
    pace: Any = SpeedUp(speed_up) if speed_up else Bound(broker, running.pipeline, bound, _say_waiting)
    step = 1000 if speed_up else default_step(bound)
    with progress("publishing", len(records)) as advance:
        for sent in publish_records(broker, running.pipeline, records, pace, step):
            advance(sent)
    broker.close()


@app.command(epilog="Examples: driftline tail predictions · driftline tail dead-letters --from-start --json")
def tail(
    topic: Annotated[str, typer.Argument(help=f"A topic's name, or one of: {', '.join(OUTPUTS)}.")],
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest record.")] = False,
    count: Annotated[int | None, typer.Option("-n", min=1, help="Stop after this many records.")] = None,
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Print a topic's records as they come, until Ctrl-C."""
    from flows.tail import follow, readable

    running = engine(pipeline)
    name = running.pipeline.topic(topic) if topic in OUTPUTS else topic
    broker = running.open_broker()
    names = running.names(running.plan()) if topic == "predictions" else ()
    try:
        for number, record in enumerate(follow(broker, name, from_start), 1):
            shown = readable(record, names)
            if as_json:
                sys.stdout.buffer.write(orjson.dumps(shown) + b"\n")
                sys.stdout.flush()
            else:
                out.print(f"[dim]{shown['time']}[/dim]", shown)
            if number == count:
                break
    except KeyboardInterrupt:
        pass
    finally:
        broker.close()


@app.command(epilog="Example: driftline topics --json")
def topics(as_json: JsonOption = False, pipeline: PipelineOption = "") -> None:
    """List the pipeline's topics: partitions, records, and how far each flow has read."""
    running = engine(pipeline)
    broker = running.open_broker()
    known = broker.existing(running.topics())
    rows: list[dict[str, Any]] = []
    for name in known:
        written, ends = broker.uncommitted().offsets(name), broker.offsets(name)
        read = {flow: sum(broker.committed(running.pipeline.group(flow), name).values()) for flow in FLOWS}
        rows.append(
            {
                "topic": name,
                "partitions": known[name],
                "records": sum(end - start for start, end in ends),
                "held_back": sum(high for _, high in written) - sum(end for _, end in ends),
                "lag": {f: sum(end for _, end in ends) - done for f, done in read.items() if done},
            }
        )
    broker.close()
    if as_json:
        print_json(rows)
        return
    table = Table("topic", "partitions", "records", "lag of the flows that read it")
    for row in rows:
        lag = ", ".join(f"{flow} {behind}" for flow, behind in row["lag"].items())
        table.add_row(row["topic"], str(row["partitions"]), f"{row['records']:,}", lag)
    out.print(table)
    for row in rows:
        if row["held_back"] > 0:
            out.print(
                f"{row['topic']}: {row['held_back']:,} records cannot be read yet; somebody's transaction is "
                "open",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


@app.command(epilog="Examples: driftline backtest · driftline backtest flight_delays --events 20000 --json")
def backtest(
    name: Annotated[str, typer.Argument(help="The pipeline, where the project has several.")] = "",
    events: Annotated[int | None, typer.Option(min=1, help="Only the first N events.")] = None,
    data: DataOption = None,
    report: Annotated[
        Path | None, typer.Option(help="Where the page goes, if not to backtest-PIPELINE.html.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the pipeline's data set through the engine's core, in event-time order and without a broker.

    The result is printed, and written as one self-contained HTML page. Exits with 1 when nothing was scored
    or learned.
    """
    from flows.backtest import BATCH, Backtest, questions
    from flows.backtest_report import POINTS, History
    from flows.report import backtest_failure, backtest_summary, backtest_warning, print_backtest
    from flows.report_page import render

    running = engine(name)
    page = report or Path(f"backtest-{running.pipeline.name}.html")
    plan = running.plan()
    records = dataset(running, events, data)
    _check_writable(page)
    looked_up = {}
    if plan.lookups:
        with err.status("importing Feast and joining the batch views"):
            looked_up = running.looked_up(plan, questions(running.pipeline, records, plan.key_kinds))
    learner = running.learner(plan)
    tune_garbage_collection()
    test = Backtest(running.pipeline, plan, learner, running.transformer(plan), looked_up)
    began, history = time.monotonic(), History(test, records.events)
    with progress("backtesting", len(records)) as advance:
        for step in test.run(records, min(BATCH, len(records) // POINTS + 1)):
            advance(step.records)
            history.add(step)
    seconds = time.monotonic() - began
    summary = backtest_summary(test, history.signals, history.records, history.dead, seconds)
    page.write_text(render(history.report()), "utf-8")
    if as_json:
        print_json(summary)
    else:
        print_backtest(out, summary)
    err.print(f"the report is in {page}", highlight=False, soft_wrap=True)
    if warning := backtest_warning(summary):
        err.print(f"[yellow]warning:[/yellow] {warning}", highlight=False, soft_wrap=True)
    if failure := backtest_failure(summary):
        raise DriftlineError(failure)


def _check_writable(page: Path) -> None:
    """Raise `ConfigError` before the long run, not after it."""
    try:
        page.touch()
    except OSError as error:
        raise ConfigError(
            f"the report cannot go to {page} ({error.strerror}); name another file with --report"
        ) from None


verify = typer.Typer(no_args_is_help=True, help="Check what was served against the log.")
app.add_typer(verify, name="verify")
app.add_typer(webhooks, name="webhooks")
app.add_typer(dead_letters, name="dead-letters")


@verify.callback()
def _checks() -> None:
    """Check what was served against the log."""


@verify.command(
    "features",
    epilog="Examples: driftline verify features · driftline verify features --since 2013-03-01T00:00:00Z "
    "--until 2013-04-01T00:00:00Z --json",
)
def verify_features(
    since: Annotated[
        str, typer.Option(help="Only questions from this event time on (ISO 8601 with an offset).")
    ] = BEGINNING,
    until: Annotated[str, typer.Option(help="Only questions before this event time.")] = END,
    feast: Annotated[
        bool, typer.Option("--feast/--no-feast", help="Compare with Feast's point-in-time join as well.")
    ] = True,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until materialize has written what Feast is to join.")
    ] = False,
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Recompute every served feature from the log in DuckDB, and compare; exits with 1 on a mismatch.

    A row is explained when leaving out the records that came after the question was answered gives exactly
    what was served. Any other difference is a mismatch. Feast is not asked, and the exit code is 4, while the
    materialize flow is behind.
    """
    from flows.report import print_verification, verification_summary
    from flows.verify import Verification

    running = engine(pipeline)
    span = moment("--since", since), moment("--until", until)
    behind = 0
    with (
        closing(running.open_broker()) as broker,
        TemporaryDirectory(prefix="driftline-verify-") as folder,
        closing(Verification(running, broker, Path(folder), *span)) as run,
    ):
        with progress("reading the log", run.records) as advance:
            stores = Materialized(running, broker)
            run.load(advance)
        views = running.plan().views
        with progress("recomputing", run.questions * len(views)) as advance:
            results = [run.compare(view, advance) for view in views]
        if feast:
            behind = _behind(stores, wait)
        if feast and not behind:
            results += run.transforms()
            join = _point_in_time_join(running)
            with progress("joining in Feast", run.questions) as advance:
                run.join(join, results, advance)
    if as_json:
        summary = verification_summary(run, results)
        print_json(summary)
    else:
        print_verification(out, run, results)
    if any(result.mismatches or result.feast_mismatches for result in results):
        raise typer.Exit(EXIT_FAULT)
    if behind:
        err.print(
            f"Feast was not asked: materialize is behind by {behind:,} records; run it and wait for it with "
            "--wait, or leave Feast out with --no-feast",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_BEHIND)


def _behind(stores: Materialized, wait: bool) -> int:
    """How many records materialize has still to write; with `wait`, if it does not move."""
    behind = stores.behind()
    if not (wait and behind):
        return behind
    with progress("waiting for materialize", behind) as advance:
        return stores.wait(advance)


def _point_in_time_join(running: Engine) -> Callable[[Any], Any]:
    with err.status("importing Feast"):
        from flows.adapters.feast_history import point_in_time_join

        store = running.feature_store()
    return partial(point_in_time_join, store, running.pipeline.service)


@app.command(
    epilog="Examples: driftline backfill · driftline backfill --seed · "
    "driftline backfill departures=departures.parquet flights=flights.parquet"
)
def backfill(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="TOPIC=FILE.parquet, the records of a topic; without files the topics themselves."
        ),
    ] = None,
    seed: Annotated[
        bool, typer.Option("--seed", help="Let the predict flow start with what is known at the end.")
    ] = False,
    pipeline: PipelineOption = "",
) -> None:
    """Compute the features of history with the flows' own code, and write them to Feast's stores.

    A parquet file has the payload's fields as columns; the records' timestamps are the event times, or those
    of a column `timestamp` (ms). With --seed the predict flow goes on behind the history, with its windows.
    """
    from flows.backfill import Backfill, check_cold, feature_engine, history_of, leave_seed

    running = engine(pipeline)
    check_topics(running)
    plan, began = running.plan(), time.monotonic()
    tune_garbage_collection()
    with closing(running.open_broker()) as broker, _alone(running, seed):
        if seed:
            check_cold(running)
        history = history_of(running, broker, files or ())
        with err.status("importing Feast"):
            offline, online = running.stores(plan)
        filling = Backfill(feature_engine(running, plan), plan, offline, online)
        with progress("backfilling", len(history)) as advance:
            for records in filling.run(history):
                advance(records)
        if seed:
            leave_seed(running, plan, filling.engine, history.ends)
    for line in filling.summary(time.monotonic() - began):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    if filling.failed:
        raise DriftlineError("no record could be used; correct what the lines above say")


@app.command(
    "training-set",
    epilog="Examples: driftline training-set flights.parquet · "
    "driftline training-set flights.parquet --through-feast",
)
def training_set(
    file: Annotated[Path, typer.Argument(help="The parquet file to write.")],
    through_feast: Annotated[
        bool, typer.Option("--through-feast", help="Take the features from Feast's point-in-time join.")
    ] = False,
    pipeline: PipelineOption = "",
) -> None:
    """Join the predictions on the topic, with the features as served, with their labels: a parquet file."""
    from flows.training_set import AsServed, TrainingSet, feast_source, predictions_in

    running = engine(pipeline)
    check_topics(running)
    plan = running.plan()
    with closing(running.open_broker()) as broker, ExitStack() as stack:
        folder = Path(stack.enter_context(_beside(file)))
        source: Any = AsServed(len(running.pipeline.inputs))
        if through_feast:
            if behind := _behind(Materialized(running, broker), wait=True):
                raise StoreError(
                    f"materialize is behind by {behind:,} records and does not move, so Feast's stores lack "
                    "them; run it, or leave --through-feast out"
                )
            with err.status("importing Feast"):
                source = stack.enter_context(feast_source(running, plan, broker, folder))
        examples = TrainingSet(running.pipeline, plan, source)
        with progress("joining", predictions_in(running, broker)) as advance:
            examples.write(broker, file, folder, advance)
    out.print(examples.summary(), highlight=False, soft_wrap=True)


def dataset(running: Engine, events: int | None, data: Path | None) -> Dataset:
    """The data set that the pipeline declares, made of the file `data` if given, or its first `events`."""
    with err.status("reading the data set"):
        return running.pipeline.load_dataset(events, data)


class progress:  # noqa: N801 (used as a function)
    """A progress bar on standard error; gives the function that advances it."""

    def __init__(self, what: str, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=err, disable=not err.is_terminal)
        self._task = self._progress.add_task(what, total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        return lambda steps: self._progress.advance(self._task, steps)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _stream(pipeline: Pipeline, topic: str) -> Stream:
    streams = {stream.topic: stream for stream in (pipeline.events, pipeline.labels, *pipeline.sources)}
    name = topic or pipeline.events.topic
    if name not in streams:
        raise ConfigError(
            f"--topic {name!r} is no input of {pipeline.name}; its inputs are {', '.join(streams)}"
        )
    return streams[name]


@contextmanager
def _alone(running: Engine, seed: bool) -> Iterator[None]:
    """No flow writes the stores meanwhile, and none starts before its seed is there."""
    with ExitStack() as locks:
        for flow in ("materialize", "predict") if seed else ("materialize",):
            locks.enter_context(alone(running, flow))
        yield


def _beside(file: Path) -> TemporaryDirectory[str]:
    """A folder for what is only needed while `file` is written, on the same disk."""
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent} to write {file.name} to; make it first")
    return TemporaryDirectory(dir=file.parent, prefix=".driftline-")


def _say_waiting() -> None:
    err.print("waiting: the flows do not move; is `driftline run` running?", highlight=False)


if __name__ == "__main__":
    main()
