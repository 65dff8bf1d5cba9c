"""The buttons of the dashboard in headless Chromium: what they change is on the topics, and is served."""

from collections.abc import Iterator
from itertools import count

import orjson
import pytest
from board_page import NAME, World, order, rows, show, use_token
from harness import PATIENCE, Project, free_ports, wait_until
from made_flights import MINUTE, NOON, event, event_payload, label, record, traffic
from served import serving

from flows.core.models.model import Model, ModelMessage
from scripts.tools.chromium import Tab

FLIGHTS = 60
_numbers = count(FLIGHTS)


@pytest.fixture(scope="module")
def world(applied: Project, tab: Tab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a project whose flows run and have learned, with a challenger and three dead letters."""
    copied = applied.copy_to(tmp_path_factory.mktemp("commands") / "project")
    project = copied.with_settings(HTTP_PORT=free_ports(20), MODEL_SECONDS=0.05, EPOCH_SECONDS=0.5)
    with project.flows("predict", "learn"), serving(project) as server:
        project.send([*traffic(FLIGHTS), challenger(project)])
        project.send([record("flights", NOON, {"flight_id": "bad"}), early(), label("F00000", NOON, True)])
        wait_until(lambda: len(project.records("dead-letters")) == 3, PATIENCE)
        wait_until(lambda: changes(project, "v2") == ["born"], PATIENCE)
        yield World(project, server, tab)


def challenger(project: Project):
    running = project.engine()
    model = Model("v2", running.pipeline.model())
    message = ModelMessage(NAME, "candidate", NOON - 1, model, {}, 1)
    return running.sealer().record(running.pipeline.topic("models"), message)


def early():
    """Return an event that was written hours before its own time, and is valid when it is sent again."""
    return record("flights", NOON, event_payload("early", NOON + 10 * 60 * MINUTE))


def changes(project: Project, version: str) -> list[str]:
    return [each["change"] for each in project.values("registry") if each["version"] == version]


def served_version(project: Project) -> str:
    """Publish a flight, and return the version that its prediction names."""
    number = next(_numbers)
    project.send([event(f"F{number:05}", NOON + number * MINUTE)])
    found: list[str] = []

    def is_predicted() -> bool:
        predictions = project.values("predictions")
        found[:] = [each["model"] for each in predictions if each["id"] == f"F{number:05}"]
        return bool(found)

    wait_until(is_predicted, PATIENCE)
    return found[0]


def outcome(tab: Tab, text: str) -> None:
    """Wait until the page says so of the last command."""
    tab.wait(f"document.getElementById('outcome').innerText.includes({orjson.dumps(text).decode()})")


def by_ada(project: Project) -> list[tuple[str, str, str]]:
    """Return what ada changed, by the registry topic: the version, the change and the reason."""
    entries = project.values("registry")
    return [(each["version"], each["change"], each["why"]) for each in entries if each["who"] == "ada"]


def test_freezing_a_champion_needs_a_reason_that_is_in_the_history(world):
    use_token(world, "ada", "read", "operate")
    tab = show(world, "models")
    versions = orjson.loads(world.project.run("models", "list", "--json").stdout)
    assert [row[:2] for row in rows(tab, "Versions")] == [
        [each["version"], each["role"]] for each in versions
    ]
    for action, change in (("freeze", "frozen"), ("unfreeze", "unfrozen")):
        order(tab, f"[data-action={action}]", f"because of {action}")
        outcome(tab, f"v1 {change}: because of {action}")
    assert by_ada(world.project) == [
        ("v1", "frozen", "because of freeze"),
        ("v1", "unfrozen", "because of unfreeze"),
    ]
    tab = show(world, "models")
    assert [row[-2:] for row in rows(tab, "History")[:2]] == [
        ["ada", "because of unfreeze"],
        ["ada", "because of freeze"],
    ]
    assert tab.errors == []


def test_a_version_that_is_promoted_and_one_that_is_rolled_back_to_are_served(world):
    project = world.project
    assert served_version(project) == "v1"
    use_token(world, "bob", "read", "operate")
    tab = show(world, "models")
    order(tab, "[aria-label='promote v2']", "reviewed")
    outcome(tab, "v2 promoted: reviewed")
    wait_until(lambda: served_version(project) == "v2", PATIENCE)
    order(tab, "[aria-label='rollback v1']", "too many false alarms")
    outcome(tab, "too many false alarms")
    entries = [each for each in project.values("registry") if each["who"] == "bob"]
    said = [(each["version"], each["change"], each["why"]) for each in entries]
    restored = next(each["version"] for each in entries if each["change"] == "born")
    assert said[:2] == [("v2", "promoted", "reviewed"), ("v1", "demoted", "reviewed")]
    assert (restored, "promoted", "too many false alarms") in said[2:]
    assert restored not in ("v1", "v2")
    wait_until(lambda: served_version(project) == restored, PATIENCE)
    assert world.tab.errors == []


def test_dead_letters_are_sent_again_and_those_that_fail_again_are_named(world):
    project = world.project
    use_token(world, "eve", "read", "operate")
    tab = show(world, "letters")
    order(tab, "[data-again='time of flights']", "the clock is set")
    outcome(tab, "1 record sent again, none has failed again.")
    wait_until(lambda: "early" in [each["id"] for each in project.values("predictions")], PATIENCE)
    before = len(project.records("dead-letters"))
    order(tab, "[data-again='schema of flights']", "a trial")
    outcome(tab, "1 record sent again, 1 failed again.")
    letters = project.records("dead-letters")
    assert len(letters) == before + 1
    assert letters[-1].value == b'{"flight_id":"bad"}'
    (failed,) = rows(tab, "Sent again: schema of flights")
    detail = dict(letters[-1].headers)["detail"].decode()
    assert failed == [f"0/{letters[-1].offset}", "schema", "flights", detail]
    assert tab.errors == []


def test_a_replay_is_in_the_audit_log_with_its_reason(world):
    use_token(world, "mel", "read", "operate")
    tab = show(world, "letters")
    order(tab, "[data-again='corrected of flight_labels']", "to see it in the log")
    outcome(tab, "1 record sent again, 1 failed again.")
    line = audit(world.project)[-1]
    assert (line["caller"], line["path"], line["status"], line["why"]) == (
        "mel",
        f"/v1/{NAME}/dead-letters/replay",
        200,
        "to see it in the log: 1 sent again, 1 failed again",
    )


def audit(project: Project) -> list[dict]:
    text = (project.directory / ".driftline" / "serve-audit.jsonl").read_text()
    return [orjson.loads(line) for line in text.splitlines()]


def test_a_token_that_only_reads_sends_nothing(world):
    use_token(world, "reader", "read")
    tab = show(world, "letters")
    sent = len(world.project.records("flights"))
    order(tab, "[data-again='schema of flights']", "not allowed")
    outcome(tab, "must have the scope 'operate'")
    assert len(world.project.records("flights")) == sent
    assert audit(world.project)[-1]["status"] == 403


@pytest.mark.parametrize(
    ("letters", "status", "why"),
    [
        ({}, 400, "must have a reason, a topic or places"),
        ({"reason": "strange"}, 400, "letters.reason"),
        ({"topic": f"{NAME}.drift"}, 404, "must be an input (flights, departures, arrivals, flight_labels)"),
        ({"places": ["0/999999"]}, 404, "must be the place of a dead letter"),
        ({"places": ["x"]}, 400, "letters.places"),
    ],
)
def test_letters_that_cannot_be_sent_are_refused_with_the_reason(world, letters, status, why):
    made = world.project.run("tokens", "create", f"t{abs(hash(str(letters)))}", "--scope", "operate")
    headers = {"authorization": f"Bearer {made.stdout.strip()}"}
    body = {"reason": "a trial", "letters": letters}
    answer = world.server.post(f"/v1/{NAME}/dead-letters/replay", json=body, headers=headers)
    assert (answer.status_code, why in answer.json()["error"]) == (status, True), answer.text
