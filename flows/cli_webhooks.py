"""`driftline webhooks`: tries the endpoints out, and posts past alerts again."""

import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from flows.adapters.webhooks import Message, Sender
from flows.alert import TIMEOUT, Target, targets_of
from flows.core import alertmanager
from flows.core.broker import Record, TopicPartition, read_range
from flows.core.cloudevents import CONTENT_TYPE, TRIAL_ANNOTATIONS, DriftSignal, trial, trial_labels
from flows.core.schema import milliseconds
from flows.errors import ConfigError, InvalidRecord
from flows.runner import EXIT_FAULT, check_topics
from flows.wiring import Engine, engine

webhooks = typer.Typer(no_args_is_help=True, help="Try the webhooks out, or post past alerts again.")

PipelineOption = Annotated[
    str, typer.Option("--pipeline", "-p", help="The pipeline, where the project has several.")
]
EndpointOption = Annotated[str, typer.Option(help="Only the endpoint of this name; all by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@webhooks.command(
    "test", epilog="Examples: driftline webhooks test · driftline webhooks test --endpoint oncall"
)
def try_out(
    endpoint: EndpointOption = "", as_json: JsonOption = False, pipeline: PipelineOption = ""
) -> None:
    """Post a test event to each endpoint, once, and tell what came of it; exits with 1 if one refused it.

    Its type is io.driftline.test, in Alertmanager's format the alert is DriftlineTest; filters do not count.
    """
    running = engine(pipeline)
    targets = _chosen(running, endpoint)
    identity, now = f"test_{secrets.token_hex(16)}", time.time_ns() // 1_000_000
    rows = []
    with closing(_sender(running)) as sender:
        for target in targets:
            answer = sender.post(target.endpoint, _trial(target, running.pipeline.name, identity, now))
            rows.append(_row(target, 1, int(answer.result == "delivered"), answer.detail))
    _report(rows, as_json)


@webhooks.command(
    epilog="Example: driftline webhooks replay --since 2013-03-01T00:00:00Z --until 2013-04-01T00:00:00Z"
)
def replay(
    since: Annotated[
        str, typer.Option(help="Only alerts from this event time on (ISO 8601 with an offset).")
    ],
    until: Annotated[str, typer.Option(help="Only alerts before this event time.")] = "2099-01-01T00:00:00Z",
    endpoint: EndpointOption = "",
    as_json: JsonOption = False,
    pipeline: PipelineOption = "",
) -> None:
    """Post the alerts of the drift topic again, each with its id, to the endpoints that want them.

    Each is tried once; at the first that an endpoint does not take, the rest is left out for it and the exit
    code is 1. Receivers know by the id what they have had.
    """
    begin, end = _moment("--since", since), _moment("--until", until)
    running = engine(pipeline)
    targets = _chosen(running, endpoint)
    check_topics(running)
    signals = [(s, record) for s, record in _signals(running) if begin <= s.time < end]
    with closing(_sender(running)) as sender:
        rows = [_replay(sender, target, signals) for target in targets]
    _report(rows, as_json)


def _replay(sender: Sender, target: Target, signals: list[tuple[DriftSignal, Record]]) -> dict[str, Any]:
    wanted = [(signal, record) for signal, record in signals if target.wants.takes(signal)]
    detail = ""
    for taken, (signal, record) in enumerate(wanted):
        answer = sender.post(target.endpoint, target.message(signal, record.value or b""))
        detail = answer.detail
        if answer.result != "delivered":
            return _row(target, len(wanted), taken, f"{signal.id}: {detail}")
    return _row(target, len(wanted), len(wanted), detail)


def _trial(target: Target, pipeline: str, identity: str, now: int) -> Message:
    if target.alertmanager:
        body = alertmanager.group("resolved", trial_labels(pipeline), TRIAL_ANNOTATIONS, now, now)
        return Message(identity, body, alertmanager.CONTENT_TYPE)
    return Message(identity, trial(pipeline, identity, now), CONTENT_TYPE)


def _chosen(running: Engine, name: str) -> list[Target]:
    targets = targets_of(running)
    names = [target.endpoint.name for target in targets]
    if not names:
        raise ConfigError("no webhook is set; set DRIFTLINE_WEBHOOK_URL and DRIFTLINE_WEBHOOK_SECRET")
    if name and name not in names:
        raise ConfigError(f"there is no endpoint {name!r}; choose with --endpoint among: {', '.join(names)}")
    return [target for target in targets if name in ("", target.endpoint.name)]


def _sender(running: Engine) -> Sender:
    return Sender(allow_private=running.settings.webhook_allow_private, timeout=TIMEOUT)


def _signals(running: Engine) -> Iterator[tuple[DriftSignal, Record]]:
    """The signals of the drift topic, partition by partition; what is none was told by the alert flow."""
    topic = running.pipeline.topic("drift")
    with closing(running.open_broker()) as broker:
        for number, (start, end) in enumerate(broker.offsets(topic)):
            for records in read_range(broker, TopicPartition(topic, number), start, end):
                for record in records:
                    with suppress(InvalidRecord):
                        yield DriftSignal.from_json(record.value or b""), record


def _moment(option: str, text: str) -> int:
    try:
        return milliseconds(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text!r} {error}") from None


def _row(target: Target, wanted: int, taken: int, detail: str) -> dict[str, Any]:
    endpoint = target.endpoint
    return {
        "endpoint": endpoint.name,
        "url": str(endpoint),
        "alerts": wanted,
        "taken": taken,
        "detail": detail,
    }


def _report(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print what came of it; the exit code is 1 unless every endpoint took all."""
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")
        sys.stdout.flush()
    else:
        table = Table("endpoint", "url", "alerts", "taken", "last answer")
        for row in rows:
            table.add_row(row["endpoint"], row["url"], str(row["alerts"]), str(row["taken"]), row["detail"])
        Console().print(table)
    if any(row["taken"] < row["alerts"] for row in rows):
        raise typer.Exit(EXIT_FAULT)
