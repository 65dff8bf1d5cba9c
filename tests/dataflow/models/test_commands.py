"""Commands to the learner change what is served, and the registry keeps who, when and why."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import orjson
import pytest
from harness import PATIENCE, Project, run_flow, wait_until
from made_flights import traffic
from msgspec.structs import replace
from schemas import check_all

from flows.core.registry.command import CommandSealer
from flows.core.registry.entry import EntrySealer
from flows.core.registry.ledger import Author, Ledger, Moment
from flows.core.registry.registry import Registry
from flows.core.stream.broker import Outgoing, Record
from flows.jobs.models.commands import new_command

FLIGHTS = 300
LATER = 1_100
# the embedded log is that of the other tests here
ON_EACH = pytest.mark.parametrize(
    "project_on", [pytest.param("log", marks=pytest.mark.long), "kafka"], indirect=True
)
WHO = ("--by", "ada", "--reason", "too many false alarms")


def flights() -> Iterator[list[Outgoing]]:
    """Yield the records of one flight after the other."""
    by_flight: dict[bytes, list[Outgoing]] = {}
    for record in traffic(FLIGHTS + LATER + 200):
        by_flight.setdefault(record.key or b"", []).append(record)
    yield from by_flight.values()


def send(project: Project, coming: Iterator[list[Outgoing]], number: int) -> None:
    project.send([record for flight in islice(coming, number) for record in flight])


def labels_learned(project: Project) -> int:
    return max((each["labels"] for each in project.values("metrics")), default=0)


def changes(project: Project) -> list[tuple[str, str, str, str]]:
    """Return what the registry says, without the checkpoints."""
    told = orjson.loads(project.run("models", "history", "--json").stdout)
    return [(each["change"], each["version"], each["who"], each["why"]) for each in told]


def serve(project: Project, coming: Iterator[list[Outgoing]], version: str) -> None:
    """Send flights until one is scored by the version."""

    def is_served() -> bool:
        before = len(project.records("predictions"))
        send(project, coming, 1)
        wait_until(lambda: len(project.records("predictions")) > before, PATIENCE)
        return project.values("predictions")[-1]["model"] == version

    wait_until(is_served, PATIENCE)


@ON_EACH
def test_a_rollback_holds_over_a_restart_of_all_flows_and_a_thousand_labels(project_on: Project) -> None:
    coming = flights()
    with project_on.flows("predict", "learn", DRIFTLINE_HTTP_PORT="0") as running:
        send(project_on, coming, FLIGHTS)
        wait_until(lambda: labels_learned(project_on) >= FLIGHTS, PATIENCE)
        done = project_on.run("models", "rollback", "v1", *WHO, "--learning", "frozen")
        assert done.returncode == 0, done.stderr
        check_all("command", project_on.records("commands"))
        assert "│ born     │ r3" in done.stdout
        serve(project_on, coming, "r3")
        assert running.stop() == 0
    before = len(project_on.records("predictions"))
    with project_on.flows("predict", "learn", DRIFTLINE_HTTP_PORT="0") as running:
        send(project_on, coming, LATER)
        labels = labels_learned(project_on) + 1_000
        wait_until(lambda: labels_learned(project_on) >= labels, PATIENCE)
        wait_until(lambda: len(project_on.records("predictions")) >= before + LATER, PATIENCE)
        assert running.stop() == 0

    later = project_on.values("predictions")[before:]
    assert {(each["model"], each["score"]) for each in later} == {("r3", 0.5)}  # no label learned
    assert changes(project_on) == [
        *((change, "v1", "engine", "the pipeline's declaration") for change in ("born", "promoted")),
        *((change, version, "ada", "too many false alarms") for change, version in ROLLED_BACK),
    ]
    assert project_on.run("models", "history", "--verify").returncode == 0


ROLLED_BACK = [("born", "r3"), ("promoted", "r3"), ("demoted", "v1"), ("retired", "v1"), ("frozen", "r3")]


@ON_EACH
def test_a_rollback_holds_while_a_learner_that_was_killed_learns_again(project_on: Project) -> None:
    coming, project = flights(), project_on.with_settings(EPOCH_SECONDS=3_600)  # no state before the kill
    with project.flows("predict", "learn", DRIFTLINE_HTTP_PORT="0") as running:
        send(project, coming, FLIGHTS)
        wait_until(lambda: labels_learned(project) >= FLIGHTS, PATIENCE)
        assert project.run("models", "rollback", "v1", *WHO).returncode == 0
        serve(project, coming, "r3")
        before, published = len(project.records("predictions")), len(project.records("models"))
        killed = running.pids()["learn"]
        os.kill(killed, signal.SIGKILL)

        def publishes_again() -> bool:
            send(project, coming, 1)
            return len(project.records("models")) > published and running.pids()["learn"] != killed

        wait_until(publishes_again, PATIENCE)
        sent = len(project.records("flights"))
        wait_until(lambda: len(project.records("predictions")) == sent, PATIENCE)
        assert running.stop() == 0
    assert {each["model"] for each in project.values("predictions")[before:]} == {"r3"}
    again = {(each["version"], each["role"]) for each in project.values("models")[published:]}
    assert again == {("r3", "champion"), ("v1", "retired")}
    assert [change for change, *_ in changes(project)] == [
        "born",
        "promoted",
        *(c for c, _ in ROLLED_BACK[:4]),
    ]


def test_a_rolled_back_model_learns_on_from_its_old_state(project: Project) -> None:
    coming = flights()
    with project.flows("predict", "learn", DRIFTLINE_HTTP_PORT="0") as running:
        send(project, coming, FLIGHTS)
        wait_until(lambda: labels_learned(project) >= FLIGHTS, PATIENCE)
        assert project.run("models", "rollback", "v1", *WHO).returncode == 0
        labels = labels_learned(project)
        send(project, coming, 50)
        wait_until(lambda: labels_learned(project) >= labels + 50, PATIENCE)
        assert running.stop() == 0
    last = project.values("models")[-1]
    assert (last["version"], last["role"]) == ("r3", "champion")
    assert last["learned"] == labels_learned(project) - labels
    assert last["lineage"] == {"parent": "v1", "restores": "v1"}


def test_a_frozen_champion_serves_and_learns_no_more_until_it_is_unfrozen(project: Project) -> None:
    coming = flights()
    with project.flows("predict", "learn", DRIFTLINE_HTTP_PORT="0") as running:
        send(project, coming, FLIGHTS)
        wait_until(lambda: labels_learned(project) >= FLIGHTS, PATIENCE)
        assert project.run("models", "freeze", *WHO).returncode == 0
        send(project, coming, 50)
        wait_until(lambda: labels_learned(project) >= FLIGHTS + 50, PATIENCE)
        assert project.run("models", "unfreeze", *WHO).returncode == 0
        send(project, coming, 50)
        wait_until(lambda: labels_learned(project) >= FLIGHTS + 100, PATIENCE)
        assert running.stop() == 0
    assert project.values("models")[-1]["learned"] == labels_learned(project) - 50
    assert [change for change, *_ in changes(project)][-2:] == ["frozen", "unfrozen"]


@pytest.fixture(scope="module")
def refusing(applied: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Yield a project whose learner runs; a refused command leaves it as it is."""
    project = applied.copy_to(tmp_path_factory.mktemp("refusing") / "project")
    with project.flows("learn", DRIFTLINE_HTTP_PORT="0"):
        send(project, flights(), 1)
        yield project


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (
            ("promote", "v1"),
            1,
            "got 'v1', which is the champion; use one of: none",
        ),
        (("retire", "v7"), 1, "version 'v7' must be one of v1, champion; see"),
        (("rollback",), 1, "version 'previous' must be one of v1"),
        (("retire", "models:/flight_delays@previous"), 1, "version 'previous' must be one of v1, champion"),
        (("retire", "models:/other@champion"), 2, "there is no pipeline 'other'"),
        (("unfreeze",), 1, "the champion 'v1' is learning already"),
        (("rollback", "--learning", "perhaps"), 2, "--learning must be one of continue, frozen, shadow"),
    ],
)
def test_an_impossible_command_is_refused_with_the_reason_and_entered(
    refusing: Project, arguments: tuple[str, ...], code: int, fault: str
) -> None:
    before = refusals(refusing)
    done = refusing.run("models", *arguments, *WHO)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert fault in done.stderr
    refused = refusals(refusing)[len(before) :]
    assert [fault in why for why in refused] == [True] * (code == 1)


def refusals(project: Project) -> list[str]:
    return [each["why"] for each in project.values("registry") if each["change"] == "refused"]


def test_a_command_without_a_running_learner_is_carried_out_later(project: Project) -> None:
    send(project, flights(), 5)
    done = project.run("models", "freeze", *WHO, "--wait", "0.2")
    assert done.returncode == 4
    assert "the learn flow carries it out when it runs" in done.stdout
    run_flow(project.engine(), "predict")
    run_flow(project.engine(), "learn")
    assert changes(project)[-1] == ("frozen", "v1", "ada", "too many false alarms")


def commands_of_others(project: Project) -> dict[str, Outgoing]:
    """Return commands that the learner must not obey, by their reason."""
    running = project.engine()
    topic, own = running.pipeline.topic("commands"), new_command(running.pipeline, "freeze", "", "eve", "why")
    signed = CommandSealer("flight_delays", running.secrets).seal(topic, own, 0)
    forged = CommandSealer("flight_delays", [b"e" * 32]).seal(topic, own, 0)
    empty = CommandSealer("flight_delays", running.secrets).seal(
        topic, new_command(running.pipeline, "freeze", "", "eve", "why"), 0
    )
    of_other = replace(new_command(running.pipeline, "freeze", "", "eve", "why"), pipeline="card_fraud")
    foreign = CommandSealer("card_fraud", running.secrets).seal(topic, of_other, 0)
    value = signed.value or b""
    return {
        "unsigned": signed._replace(headers=()),
        "forged": forged,
        "truncated": signed._replace(value=value[:-1]),
        "flipped": signed._replace(value=bytes([value[0] ^ 1]) + value[1:]),
        "of no command": empty._replace(value=b"{}"),
        "of another pipeline": foreign,
    }


def test_commands_that_are_not_signed_or_altered_become_dead_letters_and_change_nothing(
    project: Project,
) -> None:
    sent = commands_of_others(project)
    project.send(list(sent.values()))
    run_flow(project.engine(), "learn")
    letters = project.records("dead-letters")
    assert [letter.value for letter in letters] == [each.value for each in sent.values()]
    assert {dict(letter.headers)["reason"] for letter in letters} == {b"signature"}
    assert [change for change, *_ in changes(project)] == ["born", "promoted"]


def test_a_command_that_is_sent_again_is_carried_out_once(project: Project) -> None:
    running = project.engine()
    command = new_command(running.pipeline, "freeze", "", "ada", "why")
    sent = CommandSealer("flight_delays", running.secrets).seal("flight_delays.commands", command, 0)
    project.send([sent, sent])
    run_flow(running, "learn")
    (letter,) = project.records("dead-letters")
    assert dict(letter.headers)["reason"] == b"stale"
    assert [change for change, *_ in changes(project)] == ["born", "promoted", "frozen"]


def test_a_learner_that_does_not_repeat_the_log_reverts_it_and_tells(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    running = project.engine()
    sealer = EntrySealer("flight_delays", running.secrets)
    ledger = Ledger("flight_delays", "flight_delays.registry", sealer, Registry())
    project.send(ledger.add("born", "v9", Moment(0, 0), Author(why="another learner")))
    send(project, flights(), 5)
    run_flow(running, "learn")
    assert [(change, version) for change, version, *_ in changes(project)] == [
        ("born", "v9"),
        ("reverted", ""),
        ("born", "v1"),
        ("promoted", "v1"),
    ]
    (warning,) = (each.getMessage() for each in caplog.records if each.name == "driftline.registry")
    assert "after a crash the learner decided otherwise" in warning


def test_a_gap_in_the_registry_is_found(project: Project) -> None:
    running = project.engine()
    send(project, flights(), 5)
    run_flow(running, "learn")
    records = project.records("registry")
    topic = "flight_delays.registry"
    with closing(running.open_broker()) as broker:
        broker.delete_topics([topic])
        broker.create_topics([spec for spec in running.pipeline.topic_specs() if spec.name == topic])
    project.send([as_sent(record) for record in records[1:]])
    done = project.run("models", "history", "--verify")
    assert done.returncode == 1
    assert "registry, offset 0: entry 1 is missing before entry 2" in done.stderr


def as_sent(record: Record) -> Outgoing:
    return Outgoing(record.topic, record.value, record.key, 0, record.timestamp, record.headers)


def test_a_training_that_a_person_asks_for_brings_a_challenger_with_the_reason(project: Project) -> None:
    coming = flights()
    with project.flows("predict", "learn", "retrain", DRIFTLINE_HTTP_PORT="0") as running:
        send(project, coming, 600)
        wait_until(lambda: labels_learned(project) >= 600, PATIENCE)
        assert project.run("models", "retrain", *WHO).returncode == 0
        wait_until(lambda: [change for change, *_ in changes(project)][-1] == "born", PATIENCE)
        assert running.stop() == 0
    (challenger,) = [each for each in project.values("models") if each["role"] == "challenger"][:1]
    assert challenger["lineage"]["why"] == "ada: too many false alarms"


def test_a_rollback_to_an_altered_state_is_refused_and_the_champion_keeps_serving(project: Project) -> None:
    coming = flights()
    with project.flows("predict", "learn", DRIFTLINE_HTTP_PORT="0"):
        serve(project, coming, "v1")
        wait_until(lambda: [change for change, *_ in changes(project)] == ["born", "promoted"], PATIENCE)
        for file in (project.directory / ".driftline" / "artifacts" / "flight_delays").glob("registered-*"):
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        done = project.run("models", "rollback", "v1", *WHO)
        serve(project, coming, "v1")
    assert done.returncode == 1
    assert "does not have the SHA-256 and the signature that its message gives" in done.stderr
    assert [change for change, *_ in changes(project)] == ["born", "promoted", "refused"]
