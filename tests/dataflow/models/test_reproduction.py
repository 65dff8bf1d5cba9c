"""`driftline models reproduce`: a version is made again from its lineage with the same bytes."""

from datetime import timedelta
from random import Random

import orjson
import pytest
from candidate_models import Threshold
from harness import PATIENCE, Project, declare, run_flow, wait_until
from made_flights import HOUR, MINUTE, NOON, label, prediction, served
from served import serving
from signals import changed, outgoing, signal

from flows.core.registry.command import CommandSealer
from flows.core.stream.broker import Outgoing
from flows.errors import ConfigError, SnapshotError
from flows.jobs.models.commands import new_command
from flows.jobs.models.reproduction import Reproducer, Reproduction
from flows.policies import RetrainPolicy, Search
from flows.runtime.engine import Engine

FLIGHTS = 300
SINCE = NOON + 160 * MINUTE
ALARM = changed(signal(1, SINCE), time=NOON + 250 * MINUTE + HOUR)
DECLARED = {
    "label_wait": timedelta(hours=6),
    "retrain": RetrainPolicy(
        minimum_labels=50,
        challengers=5,
        trial=0,
        window=timedelta(hours=5),
        search=Search(models={"threshold": Threshold}, parameters={"threshold": {"certainty": [0.6, 0.9]}}),
    ),
}
OPERATOR = ("--scope", "read", "--scope", "operate")
TRAINED = ["v2-fresh", "v2-fresh-longer", "v2-search", "v2-warm"]


def flights(running: Engine, first: int, last: int) -> list[Outgoing]:
    """A prediction a minute and its label an hour later, in the order of their times."""
    records = []
    for number in range(first, last):
        time, flight = NOON + number * MINUTE, f"F{number:05}"
        answer = served(running, flight, time, number % 3 == 0, True, Random(number))
        records += [prediction(running, answer), label(flight, time + HOUR, number % 3 == 0)]
    return sorted(records, key=lambda record: record.timestamp or 0)


def with_challengers(project: Project, running: Engine) -> None:
    """Learn flights before and after an alarm that brings a candidate of each kind."""
    project.send(flights(running, 0, FLIGHTS))
    run_flow(running, "learn")
    project.send([outgoing(ALARM)])
    run_flow(running, "retrain")
    project.send(flights(running, FLIGHTS, FLIGHTS + 50))
    run_flow(running, "learn")


def reproduced(project: Project, running: Engine, version: str) -> Reproduction:
    with project.broker() as broker:
        return Reproducer(running, broker).reproduce(version, lambda _: None)


def test_each_kind_of_version_is_made_again_with_the_same_bytes(project_on: Project) -> None:
    running = project_on.engine(**DECLARED)
    with_challengers(project_on, running)
    command = new_command(running.pipeline, "rollback", "v1", "ada", "why")
    project_on.send(
        [CommandSealer("flight_delays", running.secrets).seal("flight_delays.commands", command, 0)]
    )
    run_flow(running, "learn")
    (restored,) = {each["version"] for each in project_on.values("models") if each["version"][0] == "r"}
    for version in ("v1", *TRAINED, restored):
        found = reproduced(project_on, running, version)
        assert found.is_same, found
        assert (found.rows > 0) == (version in TRAINED)


def test_a_version_on_trial_is_made_again_with_the_same_bytes(project: Project) -> None:
    running = project.engine(**DECLARED | {"retrain": RetrainPolicy(minimum_labels=50)})
    with_challengers(project, running)
    assert ("promoted", "v2-fresh") in [
        (each["change"], each["version"]) for each in project.values("registry")
    ]
    assert reproduced(project, running, "v2-fresh").is_same
    assert reproduced(project, running, "v1").is_same


def test_the_command_tells_a_version_that_is_the_same_from_one_that_is_not(project: Project) -> None:
    running = project.engine(**DECLARED)
    with_challengers(project, running)
    declare(running)
    same = project.run("models", "reproduce", "v2-fresh")
    assert (same.returncode, same.stderr) == (0, "")
    assert "v2-fresh (fresh, " in same.stdout
    assert "the same bytes again" in same.stdout
    declare(project.engine(**DECLARED, model=Threshold))
    other = project.run("models", "reproduce", "v2-fresh", "--json")
    assert other.returncode == 1
    assert orjson.loads(other.stdout)["same"] is False


def test_the_server_makes_a_version_again_as_the_command_does(project: Project) -> None:
    running = project.engine(**DECLARED)
    with_challengers(project, running)
    declare(running)
    ada = {"authorization": "Bearer " + project.run("tokens", "create", "ada", *OPERATOR).stdout.strip()}
    models = "/v1/flight_delays/models"
    with serving(project) as server:

        def outcome(version: str) -> dict:
            begun = server.post(f"{models}/{version}/reproduce", headers=ada)
            assert begun.status_code == 202
            path = begun.headers["location"]
            wait_until(lambda: server.get(path, headers=ada).json()["status"] != "running", 4 * PATIENCE)
            return server.get(path, headers=ada).json()

        found = outcome("v2-fresh")
        command = orjson.loads(project.run("models", "reproduce", "v2-fresh", "--json").stdout)
        assert (found["status"], found["result"], found["rows"]) == ("done", command, command["rows"])
        assert server.get(f"{models}/champion/reproduction", headers=ada).status_code == 404
        assert server.post(f"{models}/v99/reproduce", headers=ada).status_code == 404
        for file in (project.directory / ".driftline" / "artifacts" / "flight_delays").glob("registered-*"):
            file.unlink()
        failed = outcome("v2-warm")
        assert failed["status"] == "failed"
        assert "is not in the artifact store" in failed["error"]


def test_what_a_version_cannot_be_made_again_from_is_named(project: Project) -> None:
    running = project.engine(**DECLARED)
    with_challengers(project, running)
    other = project.engine(**DECLARED | {"retrain": RetrainPolicy()})
    with pytest.raises(ConfigError, match=r"a configuration that the search declares, got threshold\("):
        reproduced(project, other, "v2-search")
    for file in (project.directory / ".driftline" / "artifacts" / "flight_delays").glob("registered-*"):
        file.unlink()
    with pytest.raises(SnapshotError, match=r"registered-\w+ is not in the artifact store"):
        reproduced(project, running, "v2-warm")
