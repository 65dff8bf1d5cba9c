"""`driftline webhooks`: posts test events, and posts past alerts again."""

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import END, JsonOption, PipelineOption, examples, moment
from flows.cli.output import print_json
from flows.host.tables import console, print_table

if TYPE_CHECKING:
    from flows.jobs.redelivery import Redelivery

commands = typer.Typer(no_args_is_help=True, help="Test the webhooks, or post past alerts again.")

EndpointOption = Annotated[
    str, typer.Option(metavar="NAME", help="Only the endpoint of this name. Default: all.")
]
SinceOption = Annotated[
    str, typer.Option(metavar="TIME", help="Only alerts from this event time on (ISO 8601).")
]
UntilOption = Annotated[
    str, typer.Option(metavar="TIME", help="Only alerts before this event time (ISO 8601).")
]


@commands.command(
    "test", epilog=examples("driftline webhooks test", "driftline webhooks test --endpoint oncall")
)
def try_endpoints(
    endpoint: EndpointOption = "", as_json: JsonOption = False, pipeline: PipelineOption = ""
) -> None:
    """Post a test event to each endpoint, once.

    The event's type is io.driftline.test, in Alertmanager's format the alert DriftlineTest. Filters are
    ignored. The exit code is 1 if an endpoint did not accept it.
    """
    from flows.jobs.redelivery import chosen, post_test_events
    from flows.runtime.engine import load_engine
    from flows.runtime.webhook_targets import webhook_sender, webhook_targets

    running = load_engine(pipeline)
    targets = chosen(webhook_targets(running.settings.webhooks, running.project.pipelines), endpoint)
    _report(post_test_events(running.pipeline.name, targets, webhook_sender(running.settings)), as_json)


@commands.command(
    "replay",
    epilog=examples(
        "driftline webhooks replay --since 2013-03-01T00:00:00Z",
        "driftline webhooks replay --since 2013-03-01T00:00:00Z --endpoint oncall",
    ),
)
def replay(
    since: SinceOption,
    until: UntilOption = END,
    endpoint: EndpointOption = "",
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Post past alerts again to the endpoints that want them.

    Each alert keeps its id, so that receivers can drop duplicates. Each is posted once. After the first alert
    that an endpoint does not accept, the rest is skipped for it and the exit code is 1.
    """
    from flows.jobs.redelivery import chosen, replay_alerts
    from flows.runtime.engine import load_engine
    from flows.runtime.runner import check_topics
    from flows.runtime.webhook_targets import webhook_sender, webhook_targets

    span = moment("--since", since), moment("--until", until)
    running = load_engine(pipeline)
    check_topics(running)
    targets = chosen(webhook_targets(running.settings.webhooks, running.project.pipelines), endpoint)
    sender = webhook_sender(running.settings)
    with closing(running.open_broker()) as broker:
        results = replay_alerts(broker, running.pipeline.topic("drift"), span, targets, sender)
    _report(results, as_json)


def _report(results: Sequence["Redelivery"], as_json: bool) -> None:
    """Print the results; exit with 1 unless every endpoint accepted all alerts."""
    from flows.runtime.runner import EXIT_FAULT

    if as_json:
        print_json([result._asdict() for result in results])
    else:
        print_table(console(), ("endpoint", "url", "alerts", "accepted", "last answer"), results)
    if any(result.taken < result.alerts for result in results):
        raise typer.Exit(EXIT_FAULT)
