"""`driftline score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.models.versions import opened_models
from flows.cli.options import PipelineOption, examples
from flows.cli.output import note, progress
from flows.errors import ConfigError, DriftlineError
from flows.host.tables import console, print_line

if TYPE_CHECKING:
    from flows.jobs.batch.folder import BatchFolder, BatchJob
    from flows.runtime.engine import Engine

commands = typer.Typer()

EventsArgument = Annotated[
    str,
    typer.Argument(
        metavar="EVENTS", help="The topic of the events, or a parquet file with records of that topic."
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="The parquet file to write.")]
VersionOption = Annotated[
    str,
    typer.Option(
        "--version",
        metavar="VERSION",
        help="A version such as v2, an alias (champion, challenger or previous), or a URI.",
    ),
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", min=1, max=64, metavar="N", help="Score in N processes.")
]


@commands.command(
    epilog=examples(
        "driftline score flights --out scores.parquet",
        "driftline score tonight.parquet --version v2 --out scores.parquet",
        "driftline score flights --processes 4 --out scores.parquet",
    )
)
def score(
    events: EventsArgument,
    out: OutOption,
    version: VersionOption = "champion",
    processes: ProcessesOption = 1,
    pipeline: PipelineOption = "",
) -> None:
    """Score all events of a topic or a file with one version.

    The features are those of the log at the moment of each event. A run that was stopped goes on when the
    same command is given again, with the model and the events of its beginning.
    """
    from flows.core.registry.version_names import chosen_pipeline, parse_version_name
    from flows.host.file_locks import try_exclusive_lock
    from flows.jobs.batch.folder import BatchFolder, left_over
    from flows.jobs.batch.run import finish, lock_file, run
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import tune_garbage_collection

    wanted = parse_version_name(version)
    running = load_engine(chosen_pipeline(wanted, pipeline))
    folder = BatchFolder(out)
    with try_exclusive_lock(lock_file(folder)) as held:
        if not held:
            raise ConfigError(f"{out} must be written by one command at a time; wait, or name another --out")
        batch = _begun(running, folder, events, version, processes)
        tune_garbage_collection()
        scored = run(running, folder, batch, processes, events)
        with progress("scoring", left_over(folder, batch)) as advance:
            for number in scored:
                advance(number)
        done = finish(running, folder, batch)
    refused = ", ".join(f"{number:,} {reason}" for reason, number in done.dead.most_common())
    print_line(
        console(),
        f"{done.rows:,} rows by {done.model.version} after {done.model.learned:,} labels; "
        f"events without a score: {refused or 'none'}",
    )
    if done.dead and not done.rows:
        raise DriftlineError("no event could be scored; `driftline backtest` names the causes")


def _begun(running: "Engine", folder: "BatchFolder", events: str, version: str, processes: int) -> "BatchJob":
    """Return the unfinished batch of the folder, or a new one."""
    from flows.core.registry.version_names import parse_version_name
    from flows.jobs.batch.run import begin, check_same
    from flows.jobs.models.versions import version_state

    batch = folder.batch()
    if batch is not None:
        check_same(running, batch, folder, events, version)
        note(f"going on with {folder.path}")
        return batch
    with opened_models(running.pipeline.name) as opened:
        registered = opened.registry.find(parse_version_name(version).name)
        state = version_state(running.pipeline, registered, opened.messages, opened.sealer)
        return begin(running, opened.broker, folder, events, version, state.model, processes)
