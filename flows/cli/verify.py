"""`driftline verify features`."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.features import wait_for_materialize
from flows.cli.options import BEGINNING, END, JsonOption, PipelineOption, examples, moment
from flows.cli.output import err, note, print_json, progress
from flows.host.tables import console

if TYPE_CHECKING:
    from flows.core.stream.broker import Broker
    from flows.jobs.materialize_progress import MaterializeProgress
    from flows.jobs.verify import Verification
    from flows.jobs.verify_results import ViewResult
    from flows.runtime.engine import Engine

commands = typer.Typer(no_args_is_help=True, help="Compare served features with the log.")

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


@commands.command(
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
    from flows.cli.verification_report import print_verification, verification_summary
    from flows.jobs.verify import Verification
    from flows.runtime.engine import load_engine

    running = load_engine(pipeline)
    span = moment("--since", since), moment("--until", until)
    with (
        closing(running.open_broker()) as broker,
        TemporaryDirectory(prefix="driftline-verify-") as folder,
        closing(Verification(running.pipeline, running.state.plan(), broker, Path(folder), span)) as run,
    ):
        materialize = _load(running, broker, run)
        results = _recompute(running, run)
        lag = 0
        if feast:
            lag = wait_for_materialize(materialize) if wait else materialize.lag()
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
        # after `run.records`, which fixes the end of the topics
        materialize = MaterializeProgress(running.pipeline, broker)
        run.load(advance)
    return materialize


def _recompute(running: "Engine", run: "Verification") -> "list[ViewResult]":
    views = running.state.plan().views
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

        store = running.stores.feature_store()
    return partial(point_in_time_join, store, running.pipeline.service)


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
