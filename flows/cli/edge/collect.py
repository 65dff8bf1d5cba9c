"""`driftline collect`."""

import signal
from contextlib import closing, suppress
from typing import Annotated

import typer

from flows.cli.options import PipelineOption, examples
from flows.cli.output import note

commands = typer.Typer()

PortOption = Annotated[
    int,
    typer.Option("--port", min=0, max=65_535, metavar="PORT", help="The port on loopback; 0: any free one."),
]


@commands.command(epilog=examples("driftline collect", "driftline collect --port 9480"))
def collect(port: PortOption = 9480, pipeline: PipelineOption = "") -> None:
    """Receive the predictions of devices and write each once.

    They go to the topic PIPELINE.edge. Devices run `driftline-edge` with --outbox and --forward. Ctrl-C or
    SIGTERM ends it.
    """
    from flows.jobs.devices.collector import HOST, collector
    from flows.jobs.devices.edge_topic import EdgeTopic
    from flows.runtime.engine import load_engine
    from flows.runtime.locks import alone
    from flows.runtime.runner import SINGLE, sole_engine

    running = load_engine(pipeline)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background process ignores the first
        signal.signal(number, signal.default_int_handler)
    with (
        alone(running.state, "collect"),
        sole_engine(running, "collect", SINGLE),
        closing(EdgeTopic(running.open_broker, running.pipeline)) as topic,
        collector(port, topic) as server,
        suppress(KeyboardInterrupt),
    ):
        note(f"http://{HOST}:{server.port} writes to topic {topic.name}")
        signal.pause()
