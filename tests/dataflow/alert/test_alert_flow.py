"""The alert flow: each drift signal reaches the webhook or becomes a dead letter with the reason."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import orjson
import pytest
from endpoints import SECRET, endpoint
from harness import PATIENCE, Project, run_flow, server_port, wait_until
from metric_values import value_of
from signals import changed, outgoing, signal

from flows.adapters.http.receiver import Receiver
from flows.adapters.prometheus import metrics as telemetry
from flows.alert import build
from flows.core.alerting import alertmanager
from flows.core.alerting.outbox import Outbox
from flows.errors import ConfigError
from flows.runtime.steps.delivery import DeliverStep
from flows.runtime.webhook_targets import webhook_sender, webhook_targets


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(SECRET) as receiver:
        yield receiver


def second(project: Project, url: str, **fields: str) -> Project:
    """The project with a further endpoint."""
    settings = {"URL": url, "SECRET": SECRET, **fields}
    return project.with_settings(**{f"WEBHOOK_SECOND_{name}": value for name, value in settings.items()})


def alerting(project: Project, url: str) -> Project:
    return project.with_settings(WEBHOOK_URL=url, WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW_PRIVATE="true")


def test_each_signal_is_posted_once_with_the_very_body_that_stands_on_the_topic(
    project_on: Project, receiver: Receiver
) -> None:
    project_on.send([outgoing(signal(1)), outgoing(signal(2))])
    running = alerting(project_on, receiver.url).engine()
    run_flow(running, "alert", until=lambda _: len(receiver.alerts) == 2)
    assert receiver.alerts == project_on.values("drift")
    run_flow(running, "alert")
    assert (len(receiver.alerts), receiver.repeats, receiver.rejected) == (2, 0, 0)
    assert project_on.records("dead-letters") == []


def test_a_delivery_is_tried_again_until_the_endpoint_is_well(project: Project) -> None:
    project.send([outgoing(signal(1))])
    with endpoint(503, 429, 200) as (url, given):
        run_flow(alerting(project, url).engine(), "alert", until=lambda _: given == [503, 429, 200])
    assert given == [503, 429, 200]
    assert project.records("dead-letters") == []


def test_failed_attempts_are_shown_also_after_a_restart_until_the_alert_is_delivered(
    project: Project,
) -> None:
    failures = telemetry.WEBHOOK_FAILURES.labels("default")
    project.send([outgoing(signal(1))])
    shown = set()

    def is_delivered(_: object) -> bool:
        shown.add(value_of(failures))
        return given[-1] == 200

    with endpoint(503, 503, 200) as (url, given):
        running = alerting(project, url).engine()
        run_flow(running, "alert", until=lambda _: value_of(failures) == 2)
        failures.set(0)  # a new process begins so
        run_flow(running, "alert", until=is_delivered)
    assert shown >= {2}
    assert value_of(failures) == 0


@pytest.mark.parametrize("status", [410, 400])
def test_what_the_endpoint_refuses_for_good_becomes_a_dead_letter(project: Project, status: int) -> None:
    project.send([outgoing(signal(1))])
    with endpoint(status) as (url, given):
        run_flow(
            alerting(project, url).engine(), "alert", until=lambda _: bool(project.records("dead-letters"))
        )
    (letter,) = project.records("dead-letters")
    headers = dict(letter.headers)
    assert letter.value == signal(1).to_json()
    assert (headers["reason"], headers["endpoint"]) == (b"undeliverable", b"default")
    assert headers["detail"].startswith(f"answered {status}".encode())
    assert given == [status]


def test_what_is_no_signal_is_not_posted(project: Project, receiver: Receiver) -> None:
    project.send([outgoing(signal(1))._replace(value=b"hello", headers=()), outgoing(signal(2))])
    run_flow(alerting(project, receiver.url).engine(), "alert", until=lambda _: bool(receiver.alerts))
    assert [alert["data"]["sequence"] for alert in receiver.alerts] == [2]
    (letter,) = project.records("dead-letters")
    assert (letter.value, dict(letter.headers)["reason"]) == (b"hello", b"undeliverable")


def test_signals_that_a_shutdown_left_undelivered_are_delivered_after_the_restart(project: Project) -> None:
    port = server_port()  # nobody listens there yet
    project.send([outgoing(signal(n)) for n in (1, 2, 3)])
    running = alerting(project, f"http://127.0.0.1:{port}/").engine()
    run_flow(running, "alert", until=lambda _: True)
    with Receiver(SECRET, port) as receiver:
        run_flow(running, "alert", until=lambda _: len(receiver.alerts) == 3)
        assert [alert["data"]["sequence"] for alert in receiver.alerts] == [1, 2, 3]
        assert receiver.repeats == 0
    assert project.records("dead-letters") == []


def test_signals_whose_delivery_a_kill_interrupted_are_delivered_after_the_restart(project: Project) -> None:
    project = alerting(project, "").with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.1)
    project.send([outgoing(signal(n)) for n in (1, 2)])
    with endpoint(503) as (url, given), project.flows("alert", DRIFTLINE_WEBHOOK_URL=url):
        wait_until(lambda: bool(given), PATIENCE)
    with Receiver(SECRET) as receiver:
        run_flow(alerting(project, receiver.url).engine(), "alert", until=lambda _: len(receiver.alerts) == 2)
        assert [alert["data"]["sequence"] for alert in receiver.alerts] == [1, 2]


def test_an_endpoint_that_hangs_does_not_hold_up_another(project: Project, receiver: Receiver) -> None:
    project.send([outgoing(signal(n)) for n in (1, 2, 3)])
    with endpoint(0) as (url, given):
        running = second(alerting(project, url), receiver.url).engine()
        run_flow(running, "alert", until=lambda _: len(receiver.alerts) == 3)
        assert given == [0]  # still at its first
    assert [alert["data"]["sequence"] for alert in receiver.alerts] == [1, 2, 3]
    assert (receiver.repeats, receiver.rejected) == (0, 0)


def test_each_endpoint_gets_what_it_wants_and_in_its_format(project: Project, receiver: Receiver) -> None:
    project.send([outgoing(signal(1)), outgoing(changed(signal(2), severity="warning"))])
    with Receiver(SECRET) as other:
        wants = {"SEVERITIES": "warning", "KINDS": "concept", "FORMAT": "alertmanager"}
        running = second(alerting(project, receiver.url), other.url, **wants).engine()
        run_flow(running, "alert", until=lambda _: len(receiver.alerts) == 2 and bool(other.alerts))
        (payload,) = other.alerts
    assert payload == orjson.loads(alertmanager.body(changed(signal(2), severity="warning")))
    assert receiver.alerts == project.values("drift")


def test_an_endpoint_that_is_gone_gets_nothing_more_until_its_settings_change(
    project: Project, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    disabled = telemetry.WEBHOOK_DISABLED.labels("default")
    project.send([outgoing(signal(1)), outgoing(signal(2))])
    with endpoint(410) as (url, given):
        here = second(alerting(project, url), receiver.url)
        run_flow(here.engine(), "alert", until=lambda _: len(receiver.alerts) == 2)
        assert "default" in caplog.text
        assert "is disabled until its URL or secret changes" in caplog.text
        assert value_of(disabled) == 1
        caplog.clear()
        project.send([outgoing(signal(3))])
        run_flow(here.engine(), "alert", until=lambda _: len(receiver.alerts) == 3)
        assert "is disabled until its URL or secret changes" in caplog.text
        assert given == [410]
    letters = project.records("dead-letters")
    assert [letter.value for letter in letters] == [signal(n).to_json() for n in (1, 2, 3)]

    project.send([outgoing(signal(4))])
    with Receiver(SECRET) as healed:
        here = second(alerting(project, healed.url), receiver.url)
        run_flow(here.engine(), "alert", until=lambda _: bool(healed.alerts) and len(receiver.alerts) == 4)
        assert [alert["data"]["sequence"] for alert in healed.alerts] == [4]
    assert value_of(disabled) == 0
    assert receiver.repeats == 0


def test_each_endpoint_that_does_not_take_an_alert_leaves_a_dead_letter_of_its_own(project: Project) -> None:
    project.send([outgoing(signal(1))])
    with endpoint(400) as (url, _), endpoint(422) as (other, _):
        here = second(alerting(project, url), other)
        run_flow(here.engine(), "alert", until=lambda _: len(project.records("dead-letters")) == 2)
    letters = [dict(letter.headers) for letter in project.records("dead-letters")]
    assert {letter["endpoint"]: letter["detail"] for letter in letters} == {
        b"default": b"answered 400",
        b"second": b"answered 422",
    }
    assert len({letter["id"] for letter in letters}) == 2


def test_what_waited_for_an_endpoint_that_is_no_longer_set_becomes_a_dead_letter(
    project: Project, receiver: Receiver
) -> None:
    project.send([outgoing(signal(1))])
    away = f"http://127.0.0.1:{server_port()}/"
    here = alerting(project, receiver.url)
    run_flow(second(here, away).engine(), "alert", until=lambda _: bool(receiver.alerts))
    run_flow(here.engine(), "alert", until=lambda _: bool(project.records("dead-letters")))
    (letter,) = project.records("dead-letters")
    assert dict(letter.headers)["endpoint"] == b"second"
    assert receiver.repeats == 0


def test_a_receiver_that_misbehaves_in_every_way_gets_each_alert_over_restarts_of_both(
    project: Project,
) -> None:
    port, taken = server_port(), []
    here = alerting(project, f"http://127.0.0.1:{port}/").with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.1)
    signals = [signal(n) for n in range(1, 7)]
    here.send([outgoing(each) for each in signals])
    for answers in ([500, 200, 307], [503, 200, 429, 200, 0], [404, 200]):
        with endpoint(*answers, port=port, taken=taken) as (_, given), here.flows("alert"):  # ended by a kill
            wait_until(lambda: len(given) >= len(answers), PATIENCE)  # noqa: B023 (called at once)
            if answers[-1] == 200:
                wait_until(lambda: len(set(taken)) == len(signals), PATIENCE)
    assert list(dict.fromkeys(taken)) == [each.id for each in signals]
    assert project.records("dead-letters") == []


def test_a_shutdown_waits_for_the_answer_that_is_under_way_lest_the_alert_be_repeated(
    project: Project,
) -> None:
    project.send([outgoing(signal(1))])
    (record,) = project.records("drift")
    asked, answer = Event(), Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.set()
            answer.wait(PATIENCE)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    running = alerting(project, f"http://127.0.0.1:{server.server_port}/").engine()
    targets = webhook_targets(running.settings.webhooks, running.project.pipelines)
    deliver = DeliverStep(
        targets,
        webhook_sender(running.settings),
        running.sealer(),
        running.drain,
        running.pipeline.topic("dead-letters"),
        None,
    )
    list(deliver.take([[record]]))
    assert asked.wait(PATIENCE)
    running.drain.set()
    end = Thread(target=lambda: list(deliver.wake()))
    end.start()
    answer.set()
    end.join(PATIENCE)
    _, outbox = running.sealer().open_state(deliver.snapshot())["default"]
    assert list(Outbox(state=outbox).waiting) == []
    server.shutdown()
    server.server_close()


def test_without_an_endpoint_the_topic_is_the_only_alert(project: Project) -> None:
    project.send([outgoing(signal(1))])
    run_flow(project.engine(), "alert")
    assert project.records("dead-letters") == []


@pytest.mark.parametrize(
    "setting",
    [
        {"WEBHOOK_URL": "ftp://example.org"},
        {"WEBHOOK_SECRET": "hush"},
        {"WEBHOOK_PIPELINES": "flight_delays, other"},
        {"WEBHOOK_KINDS": "weather"},
        {"WEBHOOK_SEVERITIES": "mild"},
        {"WEBHOOK_FORMAT": "xml"},
        {"WEBHOOK_ONCALL_URL": "hunter2"},
    ],
)
def test_a_wrong_endpoint_is_told_before_the_first_signal(project: Project, setting: dict[str, str]) -> None:
    running = alerting(project, "https://example.org/").with_settings(**setting).engine()
    with pytest.raises(ConfigError, match=f"DRIFTLINE_{next(iter(setting))}") as caught:
        build(running)
    assert "hunter2" not in str(caught.value)
