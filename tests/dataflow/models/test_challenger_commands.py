"""A person and the engine change what is served: promote, retire, canary, approval, a new secret."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import candidate_models
import pytest
from candidate_models import OddMinutes
from harness import PATIENCE, Project, Running, wait_until
from made_flights import MINUTE, NOON, event, label

from flows.core.learning.replay import RegisteredState
from flows.core.models.announcements import Reference
from flows.core.models.model import Canary, Model, ModelMessage
from flows.core.models.snapshots import Sealer
from flows.core.registry.command import CommandSealer
from flows.core.registry.entry import EntrySealer
from flows.errors import RegistryError, SnapshotError

ROUND = 80  # flights
BEFORE, NOW = "a" * 32, "b" * 32  # secrets
WHO = ("--by", "ada", "--reason", "reviewed")

DECLARED = """
from dataclasses import replace

from candidate_models import OddMinutes

from flows.pipelines import flight_delays
from flows.policies import DriftPolicy, RetrainPolicy

pipeline = replace(
    flight_delays.pipeline,
    model=OddMinutes,
    drift=DriftPolicy(kinds=("concept",), warm_up=10_000),
    retrain=RetrainPolicy(block=5, probation=0, {policy}),
)
"""


def declared(project: Project, module: str, policy: str = "") -> Project:
    """Let the project declare models of `OddMinutes`, in a module of its own."""
    shutil.copy(candidate_models.__file__, project.directory)
    (project.directory / f"{module}.py").write_text(DECLARED.format(policy=policy))
    toml = f'feature_repo = "feature_repo"\npipelines = ["{module}"]\n'
    (project.directory / "driftline.toml").write_text(toml)
    return project.with_settings(HTTP_PORT=0, MODEL_SECONDS=0.01, EPOCH_SECONDS=0.2)


class Airports:
    """Sends rounds of flights, one a minute, of which those of odd minutes are late."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._rounds = 0

    def round(self) -> list[dict]:
        """Send a round and its labels; return its predictions when all labels are learned."""
        numbers = range(self._rounds * ROUND, (self._rounds + 1) * ROUND)
        self._rounds += 1
        project = self._project
        project.send([event(f"F{n:05}", NOON + n * MINUTE, origin=airport(n)) for n in numbers])
        wait_until(lambda: len(project.records("predictions")) == self._rounds * ROUND, PATIENCE)
        project.send([label(f"F{n:05}", NOON + n * MINUTE + MINUTE // 2, n % 2 == 1) for n in numbers])
        wait_until(lambda: labels_learned(project) == self._rounds * ROUND, PATIENCE)
        return project.values("predictions")[-ROUND:]


def airport(number: int) -> str:
    """Return one of 16 airports: the first entity of the pipeline, by whose key a canary is served."""
    return f"A{number * 7 % 16:02}"


def labels_learned(project: Project) -> int:
    return max((each["labels"] for each in project.values("metrics")), default=0)


def changes(project: Project, version: str) -> list[tuple[str, str]]:
    """Return what happened to a version, and who did it."""
    entries = [each for each in project.values("registry") if each["version"] == version]
    return [(each["change"], each["who"]) for each in entries]


@contextmanager
def challenged(project: Project, sure: float) -> Iterator[Running]:
    """Run the flows with a challenger `v2` that is so sure."""
    running = project.engine()
    message = ModelMessage("flight_delays", "candidate", NOON - 1, Model("v2", OddMinutes(sure)), {}, 1)
    project.send([running.sealer().record(running.pipeline.topic("models"), message)])
    with project.flows("predict", "learn") as flows:
        wait_until(lambda: changes(project, "v2") == [("born", "engine")], PATIENCE)
        yield flows
        assert flows.stop() == 0, flows.said()
    assert project.run("models", "history", "--verify").returncode == 0
    assert project.records("dead-letters") == []


def served(predictions: list[dict]) -> set[tuple[str, ...]]:
    """Return each version that was served, with those in its shadow."""
    return {(each["model"], *each["shadows"]) for each in predictions}


def test_a_challenger_that_a_person_promotes_is_served(project_on: Project) -> None:
    project = declared(project_on, "promoted")
    airports = Airports(project)
    with challenged(project, sure=0.6):
        assert served(airports.round()) == {("v1", "v2")}
        done = project.run("models", "promote", "v2", *WHO)
        assert done.returncode == 0, done.stderr
        assert served(airports.round()) == {("v2",)}
    assert changes(project, "v2") == [("born", "engine"), ("promoted", "ada")]
    assert changes(project, "v1")[-1] == ("retired", "ada")


def test_a_challenger_that_a_person_retires_scores_no_longer(project: Project) -> None:
    project = declared(project, "retired")
    airports = Airports(project)
    with challenged(project, sure=0.6):
        assert served(airports.round()) == {("v1", "v2")}
        done = project.run("models", "retire", "v2", *WHO)
        assert done.returncode == 0, done.stderr
        assert served(airports.round()) == {("v1",)}
        again = project.run("models", "promote", "v2", *WHO)
    assert again.returncode == 1
    assert "got 'v2', which is not; use one of: none" in again.stderr
    assert changes(project, "v2") == [("born", "engine"), ("retired", "ada"), ("refused", "ada")]


def test_a_canary_serves_the_same_airports_and_then_all(project_on: Project) -> None:
    project = declared(project_on, "canary", f"canary=0.3, canary_labels={ROUND}")
    airports = Airports(project)
    with challenged(project, sure=0.9):
        before, during, after = airports.round(), airports.round(), airports.round()
    assert (served(before), served(after)) == ({("v1", "v2")}, {("v2",)})
    assert served(during) == {("v1", "v2"), ("v2", "v1")}
    by_airport = {(each["keys"][0], each["model"]) for each in during}
    assert len(by_airport) == 16  # each airport has one model
    share = {name for name in map(airport, range(16)) if Canary("v2", 0.3).serves(name)}
    assert {name for name, version in by_airport if version == "v2"} == share != set()
    assert [change for change, _ in changes(project, "v2")] == ["born", "canary", "promoted"]


def test_a_winner_that_needs_approval_waits_until_a_person_promotes_it(project: Project) -> None:
    project = declared(project, "approved", "approval=True")
    airports = Airports(project)
    with challenged(project, sure=0.9):
        airports.round()
        assert served(airports.round()) == {("v1", "v2")}
        assert changes(project, "v2") == [("born", "engine"), ("won", "engine")]
        assert project.run("models", "promote", "v2", *WHO).returncode == 0
        assert served(airports.round()) == {("v2",)}
    assert changes(project, "v2")[-1] == ("promoted", "ada")


def test_after_a_rotation_what_the_former_secret_signed_is_read_and_nothing_more_is_signed_with_it(
    project: Project,
) -> None:
    before = declared(project, "rotated").with_settings(SECRET=BEFORE)
    airports = Airports(before)
    with challenged(before, sure=0.6):
        airports.round()
        assert before.run("models", "promote", "v2", *WHO).returncode == 0
    numbers = {kind: len(before.records(kind)) for kind in ("registry", "models", "commands")}

    now = before.with_settings(SECRET=NOW, FORMER_SECRET=BEFORE)
    with now.flows("predict", "learn") as flows:
        assert served(airports.round()) == {("v2",)}  # from a state that the former secret signed
        done = now.run("models", "rollback", "v1", *WHO)
        assert done.returncode == 0, done.stderr
        assert flows.stop() == 0, flows.said()
    assert now.run("models", "history", "--verify").returncode == 0
    assert now.records("dead-letters") == []

    of_now, of_before = ([secret.encode()] for secret in (NOW, BEFORE))
    new = {kind: now.records(kind)[number:] for kind, number in numbers.items()}
    for entry in new["registry"]:
        EntrySealer("flight_delays", of_now).open(entry)
    for command in new["commands"]:
        CommandSealer("flight_delays", of_now).open(command)
    for message in new["models"]:
        Sealer(NOW.encode()).announced(message)
    assert all(new.values())
    with pytest.raises(RegistryError):
        EntrySealer("flight_delays", of_before).open(new["registry"][0])
    with pytest.raises(SnapshotError):
        Sealer(BEFORE.encode()).announced(new["models"][0])
    (promoted,) = [
        each for each in now.values("registry")[numbers["registry"] :] if each["change"] == "promoted"
    ]
    state = Reference(promoted["snapshot"]["sha256"], promoted["snapshot"]["size"])
    only_now = now.with_settings(FORMER_SECRET="").engine().sealer()
    assert RegisteredState(*only_now.restore(state)).estimator.learned == 0
