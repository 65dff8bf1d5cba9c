"""`driftline serve`."""

import typer

from flows.cli.options import PipelineOption, examples
from flows.cli.output import note
from flows.cli.serving.extra import check_installed

commands = typer.Typer()


@commands.command(epilog=examples("driftline serve", "driftline serve --pipeline flight_delays"))
def serve(pipeline: PipelineOption = "") -> None:
    """Serve the pipelines over HTTP until Ctrl-C.

    By default it serves all pipelines of the project, on the loopback address only.
    """
    from flows.host import state_dir
    from flows.runtime.engine import load_engines
    from flows.runtime.runner import check_topics

    check_installed()
    from flows.serve.server import serve as serve_pipelines

    engines = load_engines(pipeline)
    state_dir.make(engines[0].settings.state_dir)
    for each in engines:
        check_topics(each)
    serve_pipelines(engines, note)
