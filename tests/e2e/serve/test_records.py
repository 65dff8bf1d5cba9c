"""Events and labels through the log over HTTP: predicted and learned once, also after kills."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from threading import Thread
from typing import NamedTuple

import httpx
import orjson
import pytest
from harness import DRIFTLINE, PATIENCE, Project, free_port, wait_until
from in_process import asked
from made_flights import HOUR, MINUTE, NOON, event, event_payload
from served import Server, address, serving

from flows.serve.app import application
from flows.serve.routes.streams import Streams
from flows.serve.served_pipeline import ServedPipelines

EVENTS, LABELS = "/v1/flight_delays/events", "/v1/flight_delays/labels"
PREDICTIONS = "/v1/flight_delays/predictions"
LINES = {"content-type": "application/x-ndjson"}


class World(NamedTuple):
    project: Project
    server: Server


@pytest.fixture(scope="module")
def world(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a project whose flows run, and a server of it."""
    copied = applied.copy_to(tmp_path_factory.mktemp("records") / "project")
    project = copied.with_settings(HTTP_PORT=0, MODEL_SECONDS=0.05, EPOCH_SECONDS=0.5)
    with project.flows("predict", "learn"), serving(project) as server:
        yield World(project, server)


def lines(payloads: list[dict]) -> bytes:
    return b"\n".join(map(orjson.dumps, payloads))


def label_payload(flight: str, time: int, late: bool) -> dict:
    return {"flight_id": flight, "known_at": time, "late": late}


def events_with(project: Project, flight: str) -> list[dict]:
    return [value for value in project.values("flights") if value["flight_id"] == flight]


def test_an_event_is_predicted_within_the_wait_and_found_by_its_id_later(world):
    answer = world.server.post(EVENTS, params={"wait": 30}, json=event_payload("W1", NOON))
    assert answer.status_code == 200
    prediction = answer.json()
    (on_topic,) = [value for value in world.project.values("predictions") if value["id"] == "W1"]
    assert {name: prediction[name] for name in ("id", "score", "model", "learned", "time")} == {
        name: on_topic[name] for name in ("id", "score", "model", "learned", "time")
    }
    assert list(prediction["features"].values()) == on_topic["features"]
    assert prediction["features"]["carrier"] == "AA"
    assert world.server.get(f"{PREDICTIONS}/W1").json() == prediction


def test_an_event_that_is_sent_again_is_published_once_and_answered_again(world):
    payload = event_payload("W2", NOON + MINUTE)
    first = world.server.post(EVENTS, json=payload)
    assert (first.status_code, first.json()) == (202, {"id": "W2", "status": "published"})
    again = world.server.post(EVENTS, content=orjson.dumps(payload, option=orjson.OPT_INDENT_2),
                              headers={"content-type": "application/json"})  # fmt: skip
    assert (again.status_code, again.json()) == (200, {"id": "W2", "status": "known"})
    assert world.server.post(EVENTS, params={"wait": 30}, json=payload).json()["id"] == "W2"
    other = world.server.post(EVENTS, json={**payload, "distance": 1})
    assert other.status_code == 409
    assert "'W2' and another content" in other.json()["error"]
    assert len(events_with(world.project, "W2")) == 1


@pytest.mark.parametrize(
    ("path", "parameters", "body", "status"),
    [
        (EVENTS, {}, event_payload("W1", NOON), 200),
        (EVENTS, {"wait": 30}, event_payload("W1", NOON), 200),
        (EVENTS, {}, {**event_payload("W1", NOON), "distance": 2}, 409),
        (EVENTS, {}, {"flight_id": "W8"}, 422),
        (LABELS, {}, {"flight_id": "W8"}, 422),
        ("/v1/nothing/labels", {}, {}, 404),
    ],
)
def test_the_short_way_of_a_record_and_the_one_through_the_framework_give_one_answer(
    world, path, parameters, body, status
):
    world.server.post(EVENTS, params={"wait": 30}, json=event_payload("W1", NOON))
    short = world.server.post(path, params=parameters, json=body)
    long = world.server.post(path, params={**parameters, "by": "another-form"}, json=body)
    assert (short.status_code, short.content) == (long.status_code, long.content)
    assert short.status_code == status


def test_an_event_that_another_producer_sent_is_known(world):
    payload = event_payload("W3", NOON + 2 * MINUTE)
    world.project.send([event("W3", NOON + 2 * MINUTE)])
    world.server.post(EVENTS, params={"wait": 30}, json=event_payload("W3b", NOON + 2 * MINUTE))
    answer = world.server.post(EVENTS, params={"wait": 30}, json=payload)
    assert answer.json()["id"] == "W3"
    assert len(events_with(world.project, "W3")) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"origin": 7}, "field 'origin' must be a string"),
        ({"distance": None}, "field 'distance' is missing"),
        ({"scheduled_departure": "2099-01-01T00:00:00Z"}, "must be at most an hour ahead"),
    ],
)
def test_an_event_that_does_not_fit_the_declaration_is_refused_and_not_published(world, change, said):
    answer = world.server.post(EVENTS, json={**event_payload("W4", NOON), **change})
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert events_with(world.project, "W4") == []


def test_an_event_that_becomes_a_dead_letter_is_answered_with_its_reason(world):
    world.server.post(EVENTS, params={"wait": 30}, json=event_payload("W5", NOON + 3 * MINUTE))
    late = event_payload("W6", NOON - 10 * HOUR)
    for _ in range(2):
        answer = world.server.post(EVENTS, params={"wait": 30}, json=late)
        assert answer.status_code == 422
        assert "s behind the newest of 'flights'" in answer.json()["error"]


def test_lines_are_published_and_answered_in_their_order_and_faulty_ones_are_named(world):
    payloads = [event_payload(f"B{n}", NOON + 4 * MINUTE + n) for n in range(20)]
    body = lines([*payloads[:10], {"flight_id": "B99"}, *payloads[10:], payloads[0]])
    answer = world.server.post(EVENTS, params={"wait": 30}, content=body, headers=LINES)
    rows = [orjson.loads(line) for line in answer.text.splitlines()]
    refused = rows.pop(10)
    assert (refused["status"], refused["reason"]) == ("refused", "schema")
    assert [row["id"] for row in rows] == [*(f"B{n}" for n in range(20)), "B0"]
    assert {row["status"] for row in rows} == {"predicted"}
    assert len(events_with(world.project, "B0")) == 1


def test_labels_are_learned_and_change_the_served_model(world):
    asked = {"carrier": ["AA"], "minute_of_day": [720]}
    keys = {"origin": ["JFK"], "route": ["JFK-LAX"], "tail_number": ["N1"]}
    before = world.server.infer({**asked, **keys}).json()
    sent = [event_payload(f"L{n}", NOON + 5 * MINUTE + n) for n in range(50)]
    world.server.post(EVENTS, params={"wait": 30}, content=lines(sent), headers=LINES)
    truths = [label_payload(f"L{n}", NOON + HOUR + n, True) for n in range(50)]
    world.server.post(LABELS, content=lines(truths), headers=LINES)
    again = world.server.post(LABELS, json=truths[0])
    assert (again.status_code, again.json()) == (200, {"id": "L0", "status": "known"})
    learned = before["parameters"]["learned"] + 50

    def is_learned() -> bool:
        now = world.server.infer({**asked, **keys}).json()
        return now["parameters"]["learned"] == learned and now["outputs"] != before["outputs"]

    wait_until(is_learned, PATIENCE)


@pytest.mark.parametrize(
    "flight", ["a/b", "a b", "Zürich/😀", "..", "100%", "%2F", "a?b#c", "explanation", "\n"]
)
def test_any_id_is_looked_up_by_its_percent_encoded_path(world, flight):
    payload = event_payload(flight, NOON + 7 * MINUTE)
    prediction = world.server.post(EVENTS, params={"wait": 30}, json=payload).json()
    assert prediction["id"] == flight
    path = f"{PREDICTIONS}/" + "".join(f"%{byte:02X}" for byte in flight.encode())
    assert world.server.get(path).json() == prediction
    assert world.server.get(f"{path}/explanation").json()["event"] == flight


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("%zz", 400, "% must be followed by two hexadecimal digits"),
        ("%FF", 400, "must be percent-encoded UTF-8"),
        ("", 404, "there is nothing at"),
        ("/explanation", 404, "there is nothing at"),
        ("a/b", 404, "there is nothing at"),
    ],
)
def test_a_path_that_names_no_id_says_so(world, path, status, said):
    answer = world.server.get(f"{PREDICTIONS}/{path}")
    assert (answer.status_code, said in answer.json()["error"]) == (status, True)


def test_a_prediction_is_explained(world):
    world.server.post(EVENTS, params={"wait": 30}, json=event_payload("X1", NOON + 6 * MINUTE))
    found = world.server.get(f"{PREDICTIONS}/X1/explanation", params={"top": 2}).json()
    assert found["event"] == "X1"
    total = found["base"] + sum(each["contribution"] for each in found["contributions"])
    assert total == pytest.approx(found["output"])


def test_what_is_not_there_is_answered_with_404(world):
    for path in (f"{PREDICTIONS}/nothing", f"{PREDICTIONS}/nothing/explanation", "/v1/nothing/predictions/x"):
        answer = world.server.get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


@pytest.mark.parametrize("kind", ["text/plain", ""])
def test_a_body_that_a_page_of_another_site_could_send_is_refused(world, kind):
    body = orjson.dumps(event_payload("W7", NOON))
    answer = world.server.post(EVENTS, content=body, headers={"content-type": kind})
    assert answer.status_code == 415
    assert events_with(world.project, "W7") == []


def test_without_a_running_predictor_the_wait_ends_with_503_and_the_event_is_predicted_later(
    project: Project,
) -> None:
    project = project.with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.5)
    with serving(project) as server:
        answer = server.post(EVENTS, params={"wait": 0.2}, json=event_payload("N1", NOON))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "event 'N1' is published" in answer.json()["error"]
        with project.flows("predict"):
            again = server.post(EVENTS, params={"wait": 30}, json=event_payload("N1", NOON))
            assert again.json()["id"] == "N1"
    assert len(project.values("flights")) == 1


def test_the_door_works_on_each_broker(project_on: Project) -> None:
    project = project_on.with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.5)
    with project.flows("predict"), serving(project) as server:
        payload = event_payload("P1", NOON)
        assert server.post(EVENTS, params={"wait": 60}, json=payload).json()["id"] == "P1"
        assert server.post(EVENTS, json=payload).json()["status"] == "known"
        assert server.get(f"{PREDICTIONS}/P1").json()["id"] == "P1"
    with serving(project) as again:  # it reads the topics when it starts
        assert again.post(EVENTS, json=payload).json()["status"] == "known"
    assert len(project.values("flights")) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (EVENTS, event_payload("R1", NOON)),
        (LABELS, label_payload("R1", NOON, True)),
        ("/v2/models/flight_delays/infer", {}),
    ],
)
def test_a_request_is_refused_while_the_topics_are_not_read_yet(project: Project, path, body) -> None:
    app = application(ServedPipelines([project.engine()]), Streams())
    answer = asked(app, "POST", path, json=body)  # it is not started: it would read too soon for a test
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "'flight_delays' has not read its topics yet" in answer.json()["error"]
    assert project.values("flights") == project.values("flight_labels") == []


def test_kills_of_the_server_and_of_the_predictor_lose_and_repeat_no_event(project: Project) -> None:
    project = project.with_settings(HTTP_PORT=0, EPOCH_SECONDS=0.5, SERVE_PORT=free_port())
    flights, answered = [f"K{n:03}" for n in range(150)], []

    def publish() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{project.environment['DRIFTLINE_SERVE_PORT']}",
                          timeout=PATIENCE, trust_env=False) as client:  # fmt: skip
            for number, flight in enumerate(flights):
                payload = event_payload(flight, NOON + number * 1000)
                while not is_answered(client, payload):
                    time.sleep(0.02)
                answered.append(flight)

    with project.flows("predict") as flows:
        server = project.start(DRIFTLINE, "serve")
        address(server)
        sender = Thread(target=publish, daemon=True)
        sender.start()
        for count in (30, 60, 90):
            wait_until(lambda: len(answered) >= count, PATIENCE)  # noqa: B023
            server.process.kill()
            server.process.wait()
            if count == 60:
                os.kill(flows.pids()["predict"], signal.SIGKILL)
            server = project.start(DRIFTLINE, "serve")
        sender.join(PATIENCE)
        assert server.process.poll() is None
        server.kill()
    assert answered == flights
    for topic, name in (("flights", "flight_id"), ("predictions", "id")):
        assert Counter(value[name] for value in project.values(topic)) == Counter(flights)


def is_answered(client: httpx.Client, payload: dict) -> bool:
    try:
        return client.post(EVENTS, params={"wait": 10}, json=payload).status_code == 200
    except httpx.TransportError:  # it was killed
        return False
