"""`driftline backtest`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import DataOption, EventsOption, JsonOption, dataset, examples
from flows.cli.output import err, note, print_json, progress, warn
from flows.errors import ConfigError, DriftlineError
from flows.host.tables import console

if TYPE_CHECKING:
    from flows.pipeline import Dataset
    from flows.runtime.engine import Engine

commands = typer.Typer()

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE",
        help="The pipeline; required if the project has several and DRIFTLINE_PIPELINE is not set.",
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The HTML page to write. Default: backtest-PIPELINE.html."),
]


@commands.command(
    epilog=examples("driftline backtest", "driftline backtest flight_delays --events 20000 --json")
)
def backtest(
    name: NameArgument = "",
    events: EventsOption = None,
    data: DataOption = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate the pipeline on its data set, without a broker.

    Each event is scored with the labels known at its time, in event-time order. The result is printed, and
    written as one HTML page. The exit code is 1 if no event was scored, or if dead letters left nothing to
    learn.
    """
    from flows.backtest.summary import backtest_failure, backtest_warning, print_backtest
    from flows.runtime.engine import load_engine

    running = load_engine(name)
    page = report or Path(f"backtest-{running.pipeline.name}.html")
    running.state.plan()  # fails before the data set is read, if `driftline apply` never ran
    records = dataset(running.pipeline, events, data)
    _check_writable(page)
    summary, html = _run(running, records)
    page.write_text(html, "utf-8")
    if as_json:
        print_json(summary)
    else:
        print_backtest(console(), summary)
    note(f"the report is in {page}")
    if warning := backtest_warning(summary):
        warn(warning)
    if failure := backtest_failure(summary):
        raise DriftlineError(failure)


def _check_writable(page: Path) -> None:
    """Raise `ConfigError` before the run, which takes minutes, rather than after it."""
    try:
        page.touch()
    except OSError as error:
        raise ConfigError(
            f"--report must be a file that can be written, got {page} ({error.strerror}); name another file"
        ) from None


def _run(running: "Engine", records: "Dataset") -> tuple[dict[str, Any], str]:
    """Run the backtest; return its summary, ready for JSON, and its page as HTML."""
    from flows.backtest.backtest import BATCH
    from flows.backtest.page import render
    from flows.backtest.prepare import new_backtest
    from flows.backtest.recorder import POINTS, BacktestRecorder
    from flows.backtest.summary import backtest_summary
    from flows.runtime.runner import tune_garbage_collection

    with err.status("preparing the backtest"):  # it imports Feast if there are batch views
        test = new_backtest(running, records)
    tune_garbage_collection()
    began, recorder = time.monotonic(), BacktestRecorder(test, records.events)
    with progress("backtesting", len(records)) as advance:
        for step in test.run(records, min(BATCH, len(records) // POINTS + 1)):
            advance(step.records)
            recorder.add(step)
    seconds = time.monotonic() - began
    summary = backtest_summary(test, recorder.signals, recorder.records, recorder.dead, seconds)
    return summary, render(recorder.report())
