"""The life of the models over HTTP, and topics as server-sent events."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import pytest
from harness import PATIENCE, Project, wait_until
from made_flights import NOON, event, traffic
from served import Server, serving
from served_world import assessments

FLIGHTS = 60
MODELS, STREAMS = "/v1/flight_delays/models", "/v1/flight_delays/streams"


class World(NamedTuple):
    project: Project
    server: Server
    ada: dict[str, str]
    reader: dict[str, str]


@pytest.fixture(scope="module")
def world(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a project whose flows run and have learned, a server of it, and two tokens."""
    copied = applied.copy_to(tmp_path_factory.mktemp("life") / "project")
    project = copied.with_settings(HTTP_PORT=0, MODEL_SECONDS=0.05, EPOCH_SECONDS=0.5)
    with project.flows("predict", "learn"), serving(project) as server:
        project.send(traffic(FLIGHTS))
        wait_until(lambda: any(each["labels"] == FLIGHTS for each in assessments(project)), PATIENCE)
        yield World(project, server, token(project, "ada", "operate"), token(project, "eve", "read"))


def token(project: Project, name: str, scope: str) -> dict[str, str]:
    made = project.run("tokens", "create", name, "--scope", scope)
    return {"authorization": f"Bearer {made.stdout.strip()}"}


class Event(NamedTuple):
    id: str
    kind: str
    data: dict


def events(world: World, kind: str, count: int, last_id: str | None = None, **query: str) -> list[Event]:
    """Return the first events of a stream."""
    headers = {**world.reader, **({} if last_id is None else {"last-event-id": last_id})}
    found: list[Event] = []
    with world.server.client.stream("GET", f"{STREAMS}/{kind}", headers=headers, params=query) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                found.append(Event(fields["id"], fields["event"], orjson.loads(fields["data"])))
                fields = {}
                if len(found) == count:
                    break
    return found


def test_the_versions_their_lineage_and_their_history_are_those_of_the_command(world):
    def of_command(*arguments: str) -> object:
        return orjson.loads(world.project.run("models", *arguments, "--json").stdout)

    def get(path: str) -> Any:
        return world.server.get(f"{MODELS}{path}", headers=world.reader).json()

    assert get("") == of_command("list")
    assert get("/history?all=true") == of_command("history", "--all")
    assert get("/champion") == get("/models:%2Fflight_delays@champion") == of_command("show", "champion")
    entries = len(get("/history?all=true"))
    assert get("/history/verification") == {"verified": True, "entries": entries, "breaks": []}
    card = world.server.get(f"{MODELS}/champion/card", headers=world.reader)
    assert card.headers["content-type"].startswith("text/markdown")
    assert card.text == world.project.run("models", "card", "champion").stdout
    assert get("/champion/bom")["bomFormat"] == "CycloneDX"


def test_a_command_is_answered_with_the_entries_of_the_registry_that_name_the_token(world):
    frozen = world.server.post(f"{MODELS}/freeze", json={"reason": "labels are late"}, headers=world.ada)
    assert frozen.status_code == 200
    (entry,) = frozen.json()["entries"]
    assert (entry["change"], entry["who"], entry["why"]) == ("frozen", "ada", "labels are late")
    thawed = world.server.post(f"{MODELS}/unfreeze", json={"reason": "they are back"}, headers=world.ada)
    assert [each["change"] for each in thawed.json()["entries"]] == ["unfrozen"]
    file = world.project.directory / ".driftline" / "serve-audit.jsonl"
    lines = [orjson.loads(line) for line in file.read_text().splitlines()]
    assert [(each["caller"], each["path"], each["status"]) for each in lines][-2:] == [
        ("ada", f"{MODELS}/freeze", 200),
        ("ada", f"{MODELS}/unfreeze", 200),
    ]


def test_a_rollback_makes_a_version_that_is_served(world):
    done = world.server.post(f"{MODELS}/v1/rollback", json={"reason": "too many"}, headers=world.ada)
    assert done.status_code == 200
    restored = next(each["version"] for each in done.json()["entries"] if each["change"] == "born")

    score = token(world.project, "scorer", "score")

    def is_served() -> bool:
        about = world.server.get("/v2/models/flight_delays", headers=score).json()
        return about["versions"][0] == restored

    wait_until(is_served, PATIENCE)


def test_what_is_not_possible_is_refused_with_the_reason_of_the_learner(world):
    refused = world.server.post(f"{MODELS}/v99/promote", json={"reason": "x"}, headers=world.ada)
    assert refused.status_code == 409
    assert "v99" in refused.json()["error"]
    empty = world.server.post(f"{MODELS}/v1/retire", json={"reason": " "}, headers=world.ada)
    assert empty.status_code == 400
    assert world.server.get(f"{MODELS}/v99", headers=world.reader).status_code == 404
    assert world.server.get(f"{MODELS}/champion/gates", headers=world.reader).status_code == 409
    assert (
        world.server.post(f"{MODELS}/freeze", json={"reason": "x"}, headers=world.reader).status_code == 403
    )


def test_predictions_stream_from_the_start_and_resume_after_the_last_event(world):
    on_topic = [value["id"] for value in world.project.values("predictions")]
    first = events(world, "predictions", 10, **{"from": "start"})
    assert [each.data["id"] for each in first] == on_topic[:10]
    assert {each.kind for each in first} == {"predictions"}
    assert first[0].data["features"]["minute_of_day"] is not None
    rest = events(world, "predictions", len(on_topic) - 10, last_id=first[-1].id)
    assert [each.data["id"] for each in rest] == on_topic[10:]


def test_a_stream_from_the_end_has_what_comes_after_it_was_opened(world):
    headers, flight = world.reader, "S1"
    with world.server.client.stream("GET", f"{STREAMS}/predictions", headers=headers) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith(":")
        world.project.send([event(flight, NOON + 10**7)])
        data = next(line for line in lines if line.startswith("data: "))
    assert orjson.loads(data.removeprefix("data: "))["id"] == flight


@pytest.mark.parametrize("kind", ["metrics", "registry"])
def test_the_records_of_the_other_topics_stream_too(world, kind):
    (first,) = events(world, kind, 1, **{"from": "start"})
    assert first.data == world.project.values(kind)[0]


@pytest.mark.parametrize("last_id", ["x", "1-2", "-1", "99999999"])
def test_an_id_of_no_event_is_refused(world, last_id):
    headers = {**world.reader, "last-event-id": last_id}
    answer = world.server.get(f"{STREAMS}/predictions", headers=headers)
    assert answer.status_code == 400
    assert "Last-Event-ID must" in answer.json()["error"]
    assert world.server.get(f"{STREAMS}/models", headers=world.reader).status_code == 400


def test_an_open_stream_does_not_hold_up_the_end_of_the_server(project):
    with (
        serving(project) as server,
        server.client.stream("GET", f"{STREAMS}/drift") as stream,
    ):
        assert next(stream.iter_lines()).startswith(":")
        assert server.running.stop() == 0
        assert "Cancel" not in server.running.said()
