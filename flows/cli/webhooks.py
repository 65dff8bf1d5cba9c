"""`driftline webhooks`: tries the endpoints out, and posts past alerts again."""

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import END, JsonOption, PipelineOption, moment, print_json
from flows.host.tables import console, print_table
from flows.runtime.engine import load_engine
from flows.runtime.runner import EXIT_FAULT, check_topics

if TYPE_CHECKING:
    from flows.jobs.redelivery import Redelivery

webhooks = typer.Typer(no_args_is_help=True, help="Try the webhooks out, or post past alerts again.")

EndpointOption = Annotated[str, typer.Option(help="Only the endpoint of this name; all by default.")]


@webhooks.command(
    "test", epilog="Examples: driftline webhooks test · driftline webhooks test --endpoint oncall"
)
def try_endpoints(
    endpoint: EndpointOption = "", as_json: JsonOption = False, pipeline: PipelineOption = ""
) -> None:
    """Post a test event to each endpoint, once, and tell what came of it; exits with 1 if one refused it.

    Its type is io.driftline.test, in Alertmanager's format the alert is DriftlineTest; filters do not count.
    """
    from flows.jobs.redelivery import chosen, try_out
    from flows.runtime.webhook_targets import webhook_sender, webhook_targets

    running = load_engine(pipeline)
    targets = chosen(webhook_targets(running.settings.webhooks, running.project.pipelines), endpoint)
    _report(try_out(running.pipeline.name, targets, webhook_sender(running.settings)), as_json)


@webhooks.command(
    "replay",
    epilog="Example: driftline webhooks replay --since 2013-03-01T00:00:00Z --until 2013-04-01T00:00:00Z",
)
def replay_alerts(
    since: Annotated[
        str, typer.Option(help="Only alerts from this event time on (ISO 8601 with an offset).")
    ],
    until: Annotated[str, typer.Option(help="Only alerts before this event time.")] = END,
    endpoint: EndpointOption = "",
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Post the alerts of the drift topic again, each with its id, to the endpoints that want them.

    Each is tried once; at the first that an endpoint does not take, the rest is left out for it and the exit
    code is 1. Receivers know by the id what they have had.
    """
    from flows.jobs.redelivery import chosen, replay
    from flows.runtime.webhook_targets import webhook_sender, webhook_targets

    span = moment("--since", since), moment("--until", until)
    running = load_engine(pipeline)
    check_topics(running)
    targets = chosen(webhook_targets(running.settings.webhooks, running.project.pipelines), endpoint)
    sender = webhook_sender(running.settings)
    with closing(running.open_broker()) as broker:
        results = replay(broker, running.pipeline.topic("drift"), span, targets, sender)
    _report(results, as_json)


def _report(results: Sequence["Redelivery"], as_json: bool) -> None:
    """Print what came of it; the exit code is 1 unless every endpoint took all."""
    if as_json:
        rows = [result._asdict() for result in results]
        print_json(rows)
    else:
        print_table(console(), ("endpoint", "url", "alerts", "taken", "last answer"), results)
    if any(result.taken < result.alerts for result in results):
        raise typer.Exit(EXIT_FAULT)
