"""Published messages match the schemas in docs/schemas."""

from collections.abc import Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import orjson
import pytest
from harness import Project, run_flow
from labelled_world import DECLARED, world
from made_flights import NOON, traffic
from schemas import check, check_all, schema
from signals import changed, outgoing, signal
from typer.testing import CliRunner

from flows.cli.app import app
from flows.core.serving.prediction_message import PUBLISHED_AT
from flows.core.stream.broker import Outgoing, Record
from flows.policies import RetrainPolicy

SECRET = "whsec_" + "MDEy" * 8


def headers(record: Record) -> dict[str, str]:
    """The headers as text, but those that a dead letter took over, and a signature in hexadecimal."""
    return {
        name: value.hex() if name == "signature" else value.decode()
        for name, value in record.headers
        if not name.startswith("original-")
    }


def check_headers(name: str, records: list[Record]) -> None:
    assert records
    for record in records:
        check(name, headers(record))


def test_predictions_feature_rows_and_dead_letters_of_the_predict_flow(project: Project) -> None:
    stamp = ((PUBLISHED_AT, b"1357041600000000"),)
    bad = [Outgoing("flights", b"hello", timestamp=NOON), Outgoing("flights", b"{}", timestamp=NOON)]
    project.send([record._replace(headers=stamp) for record in traffic(200)] + bad)
    run_flow(project.engine(), "predict")
    check_all("prediction", project.records("predictions"))
    check_headers("prediction-headers", project.records("predictions"))
    check_all("features", project.records("features"))
    check_headers("dead-letter-headers", project.records("dead-letters"))


def test_models_metrics_drift_and_dead_letters_of_the_learn_flow(project: Project) -> None:
    running = project.with_settings(BATCH=100).engine(**DECLARED)
    project.send(world(running))
    run_flow(running, "learn")
    check_all("model", project.records("models"))
    check_headers("model-headers", project.records("models"))
    check_all("registry", project.records("registry"))
    check_headers("registry-headers", project.records("registry"))
    check_all("metrics", project.records("metrics"))
    check_all("drift", project.records("drift"))
    check_headers("drift-headers", project.records("drift"))
    check_headers("dead-letter-headers", project.records("dead-letters"))


def test_the_candidate_of_the_retrain_flow(project: Project) -> None:
    running = project.engine(**{**DECLARED, "retrain": RetrainPolicy(minimum_labels=100)})
    project.send(world(running))
    run_flow(running, "learn")
    run_flow(running, "retrain")
    candidates = [r for r in project.records("models") if headers(r)["role"] == "candidate"]
    check_all("model", candidates)
    check_headers("model-headers", candidates)


Posted = list[tuple[Message, bytes]]


@pytest.fixture
def posted(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mapping[str, str], Posted]]:
    """The settings of two webhooks, one in each format, and what is posted to them."""
    requests: Posted = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append((self.headers, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(400 if self.path == "/refused" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.chdir(project.directory)
    yield (
        {
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "WEBHOOK_URL": url,
            "WEBHOOK_SECRET": f"{SECRET} {SECRET[:-4]}MTIz",
            "WEBHOOK_AM_URL": url,
            "WEBHOOK_AM_SECRET": SECRET,
            "WEBHOOK_AM_FORMAT": "alertmanager",
            "WEBHOOK_BAD_URL": url + "refused",
            "WEBHOOK_BAD_SECRET": SECRET,
        },
        requests,
    )
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_webhooks_of_the_alert_flow(
    project: Project, posted: tuple[Mapping[str, str], Posted], status: str
) -> None:
    settings, requests = posted
    project.send([outgoing(changed(signal(1), status=status))])
    running = project.with_settings(**settings).engine()
    run_flow(running, "alert", until=lambda _: len(requests) == 3)
    for names, body in requests:
        check_posted(names, body, "drift")
    check_headers("dead-letter-headers", project.records("dead-letters"))


def test_webhooks_of_a_test(posted: tuple[Mapping[str, str], Posted]) -> None:
    settings, requests = posted
    environment = {f"DRIFTLINE_{name}": value for name, value in settings.items()}
    CliRunner().invoke(app, ["webhooks", "test"], env=environment)
    assert len(requests) == 3
    for names, body in requests:
        check_posted(names, body, "webhook-test")


def check_posted(names: Message, body: bytes, event: str) -> None:
    cloudevent = names["content-type"] == "application/cloudevents+json"
    check(event if cloudevent else "webhook-alertmanager", orjson.loads(body))
    known = schema("webhook-headers")["properties"]
    check("webhook-headers", {name.lower(): names[name] for name in names if name.lower() in known})
