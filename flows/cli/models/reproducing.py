"""`driftline models reproduce`: makes a version again."""

from contextlib import closing

import typer

from flows.cli.models.versions import VersionArgument
from flows.cli.options import JsonOption, PipelineOption, examples
from flows.cli.output import err, print_json
from flows.host.tables import console, print_line

commands = typer.Typer()


@commands.command(
    "reproduce",
    epilog=examples("driftline models reproduce v2-fresh", "driftline models reproduce champion --json"),
)
def reproduce(version: VersionArgument, as_json: JsonOption = False, pipeline: PipelineOption = "") -> None:
    """Train a version again from its lineage, and compare the bytes.

    The labels and predictions that it learned must still be on their topics. Exit code 1: the bytes differ.
    """
    from flows.core.registry.version_names import chosen_pipeline, parse_version_name
    from flows.jobs.models.reproduction import Reproducer
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import EXIT_FAULT, check_topics

    running = load_engine(chosen_pipeline(parse_version_name(version), pipeline))
    check_topics(running)
    with closing(running.open_broker()) as broker, err.status("training"):
        found = Reproducer(running, broker).reproduce(version, lambda _: None)
    if as_json:
        print_json(found.as_dict())
    else:
        of = f"{found.version} ({found.made}, {found.rows:,} rows)"
        said = "the same bytes again" if found.is_same else "OTHER BYTES than those that were recorded"
        print_line(console(), f"{of}: {said}")
        print_line(console(), f"recorded SHA-256  {found.recorded}")
        print_line(console(), f"made again        {found.again}")
        for difference in found.differences:
            print_line(console(), difference)
    if not found.is_same:
        raise typer.Exit(EXIT_FAULT)
