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
    typer.Option("--port", min=0, max=65_535, metavar="PORT", help="The port; 0: any free one."),
]
HostOption = Annotated[
    str,
    typer.Option(
        "--host", metavar="ADDRESS", help="The address. Beyond loopback it needs a token and a certificate."
    ),
]


@commands.command(
    epilog=examples("driftline collect", "driftline collect --port 9480", "driftline collect --host 0.0.0.0")
)
def collect(port: PortOption = 9480, host: HostOption = "127.0.0.1", pipeline: PipelineOption = "") -> None:
    """Receive the predictions of devices and write each once.

    They go to the topic PIPELINE.edge. Devices run `driftline-edge` with --outbox and --forward, and with
    --token-file once `driftline tokens` has made a token. Ctrl-C or SIGTERM ends it.
    """
    from flows.jobs.devices.collector import Door, collector
    from flows.jobs.devices.edge_topic import EdgeTopic
    from flows.runtime.access.listening import certificate, check_tokens
    from flows.runtime.access.token_file import TokenFile
    from flows.runtime.engine import load_engine
    from flows.runtime.locks import alone
    from flows.runtime.runner import SINGLE, sole_engine

    running = load_engine(pipeline)
    tls, tokens = certificate(running.settings), TokenFile(running.settings.tokens)
    check_tokens(host, tokens, "publish")
    door = Door(host, port, tokens, tls and tls.context())
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background process ignores the first
        signal.signal(number, signal.default_int_handler)
    with (
        alone(running.state, "collect"),
        sole_engine(running, "collect", SINGLE),
        closing(EdgeTopic(running.open_broker, running.pipeline)) as topic,
        collector(door, topic) as server,
        suppress(KeyboardInterrupt),
    ):
        shown = f"[{host}]" if ":" in host else host
        note(f"http{'s' if tls else ''}://{shown}:{server.port} writes to topic {topic.name}")
        signal.pause()
