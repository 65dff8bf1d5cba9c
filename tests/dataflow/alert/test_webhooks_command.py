"""`driftline webhooks`: the requests that it posts, and the result that it prints."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace

import orjson
import pytest
from click.testing import Result
from harness import Project, server_port
from signals import outgoing, signal
from typer.testing import CliRunner

from flows.adapters.http.receiver import Receiver
from flows.cli.app import app
from flows.core.drift.signal import DriftSignal
from flows.core.stream.times import iso
from flows.errors import ConfigError

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
DAY = 86_400_000

Said = Callable[..., Result]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(SECRET) as receiver:
        yield receiver


@pytest.fixture
def said(project: Project, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Return a function that runs `driftline webhooks` in this process, because a start takes seconds."""
    monkeypatch.chdir(project.directory)

    def give(*arguments: str, **settings: str) -> Result:
        private = {"DRIFTLINE_WEBHOOK_ALLOW_PRIVATE": "true", "COLUMNS": "200"}
        named = {f"DRIFTLINE_{name}": value for name, value in settings.items()}
        return CliRunner().invoke(app, ["webhooks", *arguments], env=private | named)

    return give


def to(url: str, name: str = "", secret: str = SECRET, **fields: str) -> dict[str, str]:
    """The settings of an endpoint."""
    prefix = f"WEBHOOK_{name}_" if name else "WEBHOOK_"
    return {prefix + field: value for field, value in {"URL": url, "SECRET": secret, **fields}.items()}


def at(number: int, time: int) -> DriftSignal:
    return replace(signal(number), time=time)


def test_a_test_event_goes_to_each_endpoint_in_its_format_whatever_its_filters(
    said: Said, receiver: Receiver
) -> None:
    with Receiver(SECRET) as other:
        settings = to(receiver.url) | to(other.url, "ONCALL", FORMAT="alertmanager", SEVERITIES="critical")
        told = said("test", **settings)
        (payload,) = other.alerts
    assert told.exit_code == 0, told.output
    assert told.stdout.count("answered 204") == 2
    (event,) = receiver.alerts
    assert (event["specversion"], event["type"]) == ("1.0", "io.driftline.test")
    assert event["data"]["status"] == "resolved"
    assert payload["alerts"][0]["labels"]["alertname"] == "DriftlineTest"


def test_a_test_that_an_endpoint_does_not_take_says_so_and_fails(said: Said, receiver: Receiver) -> None:
    wrong = "whsec_" + base64.b64encode(b"m" * 32).decode()
    settings = to(receiver.url) | to(receiver.url, "WRONG", wrong)
    settings |= to(f"http://me:hunter2@127.0.0.1:{server_port()}/?t=hunter2", "AWAY")
    told = said("test", "--json", **settings)
    assert told.exit_code == 1
    rows = {row["endpoint"]: row for row in orjson.loads(told.stdout)}
    assert {name: row["taken"] for name, row in rows.items()} == {"default": 1, "wrong": 0, "away": 0}
    assert rows["wrong"]["detail"] == "answered 401"
    assert "refused" in rows["away"]["detail"]
    assert "hunter2" not in told.output


def test_a_private_address_is_refused_unless_allowed(said: Said, receiver: Receiver) -> None:
    told = said("test", **to(receiver.url), WEBHOOK_ALLOW_PRIVATE="false")
    assert told.exit_code == 1
    assert "DRIFTLINE_WEBHOOK_ALLOW_PRIVATE" in told.stdout
    assert receiver.alerts == []


def test_a_replay_posts_the_alerts_of_a_time_again_with_their_ids_and_bodies(
    said: Said, receiver: Receiver, project: Project
) -> None:
    first = signal(1).time
    signals = [at(1, first), at(2, first + DAY), at(3, first + 2 * DAY)]
    project.send([outgoing(each) for each in signals] + [outgoing(signal(9))._replace(value=b"hello")])
    between = ("--since", iso(first + 1), "--until", iso(first + 2 * DAY))
    assert said("replay", *between, **to(receiver.url)).exit_code == 0
    assert receiver.alerts == [orjson.loads(signals[1].to_json())]
    told = said("replay", "--since", iso(first), "--json", **to(receiver.url))
    assert [alert["id"] for alert in receiver.alerts] == [signals[n].id for n in (1, 0, 2)]
    assert receiver.repeats == 1  # the receiver knows the id
    assert [(row["alerts"], row["taken"]) for row in orjson.loads(told.stdout)] == [(3, 3)]


def test_a_replay_goes_to_the_endpoints_that_want_the_alert_or_to_the_one_that_is_named(
    said: Said, receiver: Receiver, project: Project
) -> None:
    project.send([outgoing(signal(1))])  # critical
    with Receiver(SECRET) as other:
        settings = to(receiver.url) | to(other.url, "WARNINGS", SEVERITIES="warning")
        since = ("--since", "2013-01-01T00:00:00Z")
        assert said("replay", *since, **settings).exit_code == 0
        assert (len(receiver.alerts), other.alerts) == (1, [])
        assert said("replay", *since, "--endpoint", "warnings", **settings).exit_code == 0
        assert (receiver.repeats, other.alerts) == (0, [])


def test_a_replay_stops_at_the_first_alert_that_is_not_taken_and_fails(said: Said, project: Project) -> None:
    project.send([outgoing(signal(n)) for n in (1, 2)])
    away = to(f"http://127.0.0.1:{server_port()}/")
    told = said("replay", "--since", "2013-01-01T00:00:00Z", "--json", **away)
    assert told.exit_code == 1
    (row,) = orjson.loads(told.stdout)
    assert (row["alerts"], row["taken"]) == (2, 0)
    assert row["detail"].startswith(f"{signal(1).id}: cannot connect")


@pytest.mark.parametrize(
    ("arguments", "settings", "reason"),
    [
        (["test"], {}, "DRIFTLINE_WEBHOOK_URL"),
        (
            ["test", "--endpoint", "other"],
            to("https://example.org"),
            "--endpoint must be one of default, got 'other'",
        ),
        (
            ["replay", "--since", "yesterday"],
            to("https://example.org"),
            "--since must be a time in ISO 8601, got 'yesterday'",
        ),
        (["test"], to("https://example.org", secret="hush"), "DRIFTLINE_WEBHOOK_SECRET"),  # noqa: S106
    ],
)
def test_a_mistake_says_what_to_do(
    said: Said, arguments: list[str], settings: dict[str, str], reason: str
) -> None:
    told = said(*arguments, **settings)
    assert isinstance(told.exception, ConfigError)
    assert reason in str(told.exception)
    assert "hush" not in str(told.exception)
