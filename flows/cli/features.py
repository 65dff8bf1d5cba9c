"""`driftline backfill` and `driftline training-set`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import PipelineOption, examples
from flows.cli.output import err, progress
from flows.errors import ConfigError, DriftlineError, StoreError
from flows.host.tables import console, print_line

if TYPE_CHECKING:
    from flows.core.stream.broker import Broker
    from flows.jobs.materialize_progress import MaterializeProgress
    from flows.jobs.training_features import FeatureSource
    from flows.runtime.engine import Engine

commands = typer.Typer()

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
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import check_topics, tune_garbage_collection

    running = load_engine(pipeline)
    check_topics(running)
    plan, began = running.state.plan(), time.monotonic()
    tune_garbage_collection()
    state_dir.make(running.settings.state_dir)
    stopped = ("materialize", "predict") if seed else ("materialize",)
    with closing(running.open_broker()) as broker, _alone(running, stopped):
        if seed:
            check_cold(running.state)
        history = history_of(running.pipeline, broker, files or ())
        with err.status("importing Feast"):
            offline, online = running.stores.stores(plan)
        job = Backfill(feature_engine(running.pipeline, plan), plan, offline, online)
        with progress("backfilling", len(history)) as advance:
            for records in job.run(history):
                advance(records)
        if seed:
            leave_seed(running.state, plan, job.engine, history.ends)
    for line in job.summary(time.monotonic() - began):
        print_line(console(), line)
    if job.failed:
        raise DriftlineError("every record became a dead letter; correct the causes listed above")


@contextmanager
def _alone(running: "Engine", flows: Sequence[str]) -> Iterator[None]:
    """Keep these flows from running while the block runs; raise `EngineConflict` if one of them runs."""
    from flows.runtime.locks import alone

    with ExitStack() as locks:
        for flow in flows:
            locks.enter_context(alone(running.state, flow))
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
    from flows.jobs.training_features import AsServed
    from flows.jobs.training_set import TrainingSet, predictions_in
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import check_topics

    running = load_engine(pipeline)
    check_topics(running)
    with closing(running.open_broker()) as broker, _temporary_beside(file) as name, ExitStack() as stack:
        folder = Path(name)
        source: FeatureSource = AsServed(len(running.pipeline.inputs))
        if through_feast:
            source = stack.enter_context(_feast_source(running, broker, folder))
        job = TrainingSet(running.pipeline, running.state.plan(), source)
        with progress("joining", predictions_in(running.pipeline, broker)) as advance:
            job.write(broker, file, folder, advance)
    print_line(console(), job.summary())


def _feast_source(
    running: "Engine", broker: "Broker", folder: Path
) -> "AbstractContextManager[FeatureSource]":
    """Return Feast's join as a source once materialize has caught up; raise `StoreError` if it stalls."""
    from flows.jobs.materialize_progress import MaterializeProgress
    from flows.jobs.training_features import feast_source

    if lag := wait_for_materialize(MaterializeProgress(running.pipeline, broker)):
        raise StoreError(
            f"--through-feast needs all records in Feast, but materialize lags by {lag:,} and makes no "
            "progress; run it, or leave --through-feast out"
        )
    with err.status("importing Feast"):
        store = running.stores.feature_store()
        return feast_source(running.pipeline, running.state.plan(), store, broker, folder)


def _temporary_beside(file: Path) -> TemporaryDirectory[str]:
    """Return a temporary folder on the disk of `file`."""
    if not file.parent.is_dir():
        raise ConfigError(f"folder {file.parent} does not exist; create it, or name another FILE")
    return TemporaryDirectory(dir=file.parent, prefix=".driftline-")


def wait_for_materialize(materialize: "MaterializeProgress") -> int:
    """Wait until materialize has caught up or makes no progress; return its lag."""
    with progress("waiting for materialize", materialize.lag()) as advance:
        return materialize.wait(advance)
