"""`driftline verify features`, `driftline backfill` and `driftline training-set`."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import BEGINNING, END, JsonOption, PipelineOption, examples, moment
from flows.cli.output import err, note, print_json, progress
from flows.errors import ConfigError, DriftlineError, StoreError
from flows.host.tables import console, print_line

if TYPE_CHECKING:
    from flows.core.stream.broker import Broker
    from flows.jobs.materialize_progress import MaterializeProgress
    from flows.jobs.training_features import FeatureSource
    from flows.jobs.verify import Verification
    from flows.jobs.verify_results import ViewResult
    from flows.runtime.engine import Engine

commands = typer.Typer()
verify = typer.Typer(no_args_is_help=True, help="Compare served features with the log.")

SinceOption = Annotated[
    str, typer.Option(metavar="TIME", help="Only predictions from this event time on (ISO 8601).")
]
UntilOption = Annotated[
    str, typer.Option(metavar="TIME", help="Only predictions before this event time (ISO 8601).")
]
FeastOption = Annotated[
    bool, typer.Option("--feast/--no-feast", help="Compare with Feast's point-in-time join, too.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until materialize has caught up.")]
FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TOPIC=FILE.parquet",
        help="Parquet files with the records of input topics. Default: the topics themselves.",
    ),
]
SeedOption = Annotated[
    bool, typer.Option("--seed", help="Start the predict flow with the windows at the end of the history.")
]
OutArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The parquet file to write.")]
ThroughFeastOption = Annotated[
    bool,
    typer.Option("--through-feast", help="Take the features from Feast's point-in-time join, not as served."),
]


@verify.command(
    "features",
    epilog=examples(
        "driftline verify features",
        "driftline verify features --since 2013-03-01T00:00:00Z --json",
    ),
)
def verify_features(
    since: SinceOption = BEGINNING,
    until: UntilOption = END,
    feast: FeastOption = True,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Recompute served features from the log, in DuckDB, and compare.

    A difference is explained if it comes only from records that arrived after the prediction. Any other
    difference is a mismatch, and the exit code is 1. While materialize lags, Feast is not compared, and the
    exit code is 4.
    """
    from flows.backtest.report import print_verification, verification_summary
    from flows.jobs.verify import Verification
    from flows.runtime.engine import engine

    running = engine(pipeline)
    span = moment("--since", since), moment("--until", until)
    with (
        closing(running.open_broker()) as broker,
        TemporaryDirectory(prefix="driftline-verify-") as folder,
        closing(Verification(running.pipeline, running.plan(), broker, Path(folder), span)) as run,
    ):
        materialize = _load(running, broker, run)
        results = _recompute(running, run)
        lag = 0
        if feast:
            lag = _wait(materialize) if wait else materialize.lag()
            if not lag:
                results += _join_in_feast(running, run, results)
    if as_json:
        print_json(verification_summary(run, results))
    else:
        print_verification(console(), run, results)
    _exit_on_mismatch(results)
    _exit_on_lag(lag)


def _load(running: "Engine", broker: "Broker", run: "Verification") -> "MaterializeProgress":
    """Read the log; return how far materialize is with the records that were on it."""
    from flows.jobs.materialize_progress import MaterializeProgress

    with progress("reading the log", run.records) as advance:
        materialize = MaterializeProgress(
            running.pipeline, broker
        )  # after `run.records`, which fixes what is read
        run.load(advance)
    return materialize


def _recompute(running: "Engine", run: "Verification") -> "list[ViewResult]":
    views = running.plan().views
    with progress("recomputing", run.questions * len(views)) as advance:
        return [run.compare(view, advance) for view in views]


def _join_in_feast(
    running: "Engine", run: "Verification", results: "Sequence[ViewResult]"
) -> "list[ViewResult]":
    """Add Feast's comparison to the results of the views; return those of the transforms."""
    transforms = run.transforms()
    join = _point_in_time_join(running)
    with progress("joining in Feast", run.questions) as advance:
        run.join(join, [*results, *transforms], advance)
    return transforms


def _point_in_time_join(running: "Engine") -> Callable[[Any], Any]:
    with err.status("importing Feast"):
        from flows.adapters.feast.history import point_in_time_join

        store = running.feature_store()
    return partial(point_in_time_join, store, running.pipeline.service)


def _wait(materialize: "MaterializeProgress") -> int:
    """Wait until materialize has caught up or makes no progress; return its lag."""
    with progress("waiting for materialize", materialize.lag()) as advance:
        return materialize.wait(advance)


def _exit_on_mismatch(results: "Sequence[ViewResult]") -> None:
    from flows.runtime.runner import EXIT_FAULT

    if any(result.mismatches or result.feast_mismatches for result in results):
        raise typer.Exit(EXIT_FAULT)


def _exit_on_lag(lag: int) -> None:
    from flows.runtime.runner import EXIT_BEHIND

    if lag:
        note(
            f"not compared with Feast: materialize lags by {lag:,} records; run it and add --wait, or leave "
            "Feast out with --no-feast"
        )
        raise typer.Exit(EXIT_BEHIND)


@commands.command(
    epilog=examples(
        "driftline backfill",
        "driftline backfill --seed",
        "driftline backfill departures=departures.parquet flights=flights.parquet",
    )
)
def backfill(files: FilesArgument = None, seed: SeedOption = False, pipeline: PipelineOption = "") -> None:
    """Compute features from history, and write them to Feast.

    The flows' own code computes them. A parquet file has the fields of the records as columns. The records'
    timestamps are their event times, or a column `timestamp` in ms.
    """
    from flows.host import state_dir
    from flows.jobs.backfill import Backfill, check_cold, feature_engine, leave_seed
    from flows.jobs.history import history_of
    from flows.runtime.engine import engine
    from flows.runtime.runner import check_topics, tune_garbage_collection

    running = engine(pipeline)
    check_topics(running)
    plan, began = running.plan(), time.monotonic()
    tune_garbage_collection()
    state_dir.make(running.settings.state_dir)
    stopped = ("materialize", "predict") if seed else ("materialize",)
    with closing(running.open_broker()) as broker, _alone(running, stopped):
        if seed:
            check_cold(running)
        history = history_of(running.pipeline, broker, files or ())
        with err.status("importing Feast"):
            offline, online = running.stores(plan)
        job = Backfill(feature_engine(running, plan), plan, offline, online)
        with progress("backfilling", len(history)) as advance:
            for records in job.run(history):
                advance(records)
        if seed:
            leave_seed(running, plan, job.engine, history.ends)
    for line in job.summary(time.monotonic() - began):
        print_line(console(), line)
    if job.failed:
        raise DriftlineError("every record became a dead letter; correct the causes listed above")


@contextmanager
def _alone(running: "Engine", flows: Sequence[str]) -> Iterator[None]:
    """Keep these flows from running meanwhile; raise `ConfigError` if one of them runs."""
    from flows.runtime.locks import alone

    with ExitStack() as locks:
        for flow in flows:
            locks.enter_context(alone(running, flow))
        yield


@commands.command(
    "training-set",
    epilog=examples(
        "driftline training-set flights.parquet", "driftline training-set flights.parquet --through-feast"
    ),
)
def training_set(
    file: OutArgument, through_feast: ThroughFeastOption = False, pipeline: PipelineOption = ""
) -> None:
    """Write labelled predictions with their features to a file."""
    from flows.jobs.training_set import TrainingSet, predictions_in
    from flows.runtime.engine import engine
    from flows.runtime.runner import check_topics

    running = engine(pipeline)
    check_topics(running)
    with closing(running.open_broker()) as broker, _temporary_beside(file) as name, ExitStack() as stack:
        folder = Path(name)
        source = _feature_source(running, broker, folder, through_feast, stack)
        examples = TrainingSet(running.pipeline, running.plan(), source)
        with progress("joining", predictions_in(running.pipeline, broker)) as advance:
            examples.write(broker, file, folder, advance)
    print_line(console(), examples.summary())


def _feature_source(
    running: "Engine", broker: "Broker", folder: Path, through_feast: bool, stack: ExitStack
) -> "FeatureSource":
    """Return the source of the features; `stack` closes it."""
    from flows.jobs.materialize_progress import MaterializeProgress
    from flows.jobs.training_features import AsServed, feast_source

    if not through_feast:
        return AsServed(len(running.pipeline.inputs))
    if lag := _wait(MaterializeProgress(running.pipeline, broker)):
        raise StoreError(
            f"--through-feast needs all records in Feast, but materialize lags by {lag:,} and makes no "
            "progress; run it, or leave --through-feast out"
        )
    with err.status("importing Feast"):
        store = running.feature_store()
        return stack.enter_context(feast_source(running.pipeline, running.plan(), store, broker, folder))


def _temporary_beside(file: Path) -> TemporaryDirectory[str]:
    """Return a temporary folder on the disk of `file`."""
    if not file.parent.is_dir():
        raise ConfigError(f"folder {file.parent} does not exist; create it, or name another FILE")
    return TemporaryDirectory(dir=file.parent, prefix=".driftline-")
